"""The folder that outlives the server, where there is one: the Hub's cache and the models shared with all visitors.

What visitors bring never goes there. docs/hosting.md says how to provide it. Imports nothing of the library, which
would import the Hub's client.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "BSOFTMAX_STORAGE"
OF_A_SPACE = "/data"  # where a Space's volume is mounted, unless the variable says otherwise


def folder() -> Path | None:
    """$BSOFTMAX_STORAGE, or a Space's /data; None where there is neither.

    Raises ValueError where the variable names a folder that is not there or cannot be written.
    """
    named = os.environ.get(VARIABLE, "").strip()
    path = Path(named or OF_A_SPACE)
    usable = path.is_dir() and os.access(path, os.W_OK)
    if named and not usable:
        raise ValueError(f"{VARIABLE} must name a folder that can be written, got {named!r}: make it, or unset it.")
    return path if usable and (named or "SPACE_ID" in os.environ) else None


def keep_hub_cache() -> None:
    """Lets the Hub's client keep downloaded weights there; it asks once, when it is imported."""
    if kept := folder():
        os.environ.setdefault("HF_HOME", str(kept / "huggingface"))


def shared_models() -> Path | None:
    """The folder there of models for every visitor, made at the first use; None where nothing is kept."""
    kept = folder()
    if kept is None:
        return None
    (kept / "models").mkdir(exist_ok=True)
    return kept / "models"
