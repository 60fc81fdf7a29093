"""A folder to unpack into."""

import pytest


@pytest.fixture
def work(tmp_path):
    return tmp_path / "work"
