"""Files as strangers send them: valid ones with bytes changed, cut, repeated or put in; JSON of any kind."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# the same examples every time, so that a failure in CI is one here too; BSOFTMAX_EXAMPLES=2000 hunts for others
few = settings(
    max_examples=int(os.environ.get("BSOFTMAX_EXAMPLES", "30")),
    derandomize="BSOFTMAX_EXAMPLES" not in os.environ,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def change(data: bytes, at: float, kind: str, new: bytes) -> bytes:
    """One change at a place between 0 (the beginning) and 1 (the end)."""
    n = int(at * len(data))
    if kind == "cut":
        return data[:n]
    if kind == "repeat":
        return data[:n] + data[max(0, n - 9) :]
    return data[:n] + new + (data[n + len(new) :] if kind == "overwrite" else data[n:])


def mutated(valid: bytes) -> st.SearchStrategy[bytes]:
    """A valid file with one to three changes."""
    kinds = st.sampled_from(["overwrite", "overwrite", "insert", "cut", "repeat"])
    changes = st.lists(st.tuples(st.floats(0, 1), kinds, st.binary(min_size=1, max_size=4)), min_size=1, max_size=3)

    def apply(listed: list[tuple[float, str, bytes]]) -> bytes:
        data = valid
        for one in listed:
            data = change(data, *one)
        return data

    return changes.map(apply)


def sentence(error: Exception) -> str:
    """The message of an error for people: one line that ends with a full stop."""
    text = str(error)
    assert text
    assert "\n" not in text
    assert text.endswith("."), text
    assert len(text) < 500, text
    text.encode()
    return text
