"""Where things are: the repository, the tests' helpers, the photographs that only some machines have."""

import os
from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
DATA = Path(os.environ.get("BSOFTMAX_DATA", ROOT.parent / "shared" / "data"))
