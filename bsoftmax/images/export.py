"""Writes figures and raw maps to files, atomically."""

from __future__ import annotations

import json
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..utils.files import atomic_open

PROTOCOL = "protocol"
_RC: dict[Any, Any] = {
    "pdf.fonttype": 42,
    "pdf.use14corefonts": False,
    "savefig.bbox": None,
    "savefig.transparent": False,
    "svg.fonttype": "none",  # text stays text: selectable, and small
    "svg.hashsalt": "bsoftmax",
}
_FORMATS: dict[str, dict[str, Any]] = {
    ".png": {"format": "png", "dpi": 300, "metadata": {"Software": "bsoftmax"}},
    # The dpi of a PDF is that of its images; without a date equal figures give equal files.
    ".pdf": {"format": "pdf", "dpi": 450, "metadata": {"Creator": "bsoftmax", "CreationDate": None}},
    ".svg": {"format": "svg", "metadata": {"Creator": "bsoftmax", "Date": None}},
}
_RC_LOCK = threading.Lock()  # rcParams are global, and the only way to set the font type of a PDF


def save_figure(fig: Figure, path: str | Path) -> Path:
    """Writes a figure as .png (300 dpi), .svg (with its text as text) or .pdf (embedded TrueType fonts), atomically.

    Raises ValueError for another extension or a folder that does not exist.
    """
    path = Path(path)
    options = _FORMATS.get(path.suffix.lower())
    if options is None:
        raise ValueError(f"Expected a file name that ends in .png, .svg or .pdf, got {path.name!r}.")
    with _RC_LOCK, matplotlib.rc_context(_RC), atomic_open(path) as file:
        fig.savefig(file, facecolor="white", **options)
    return path


def save_maps(path: str | Path, maps: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> Path:
    """Writes raw signed maps as float32, and `meta` as JSON under 'protocol', into one .npz without pickles.

    np.load(path)[name] is a map, json.loads(str(np.load(path)["protocol"])) the protocol. Raises ValueError for
    another extension, a map named 'protocol', maps that are not finite, or meta that JSON cannot hold.
    """
    path = Path(path)
    if path.suffix.lower() != ".npz":
        raise ValueError(f"Expected a file name that ends in .npz, got {path.name!r}.")
    if PROTOCOL in maps:
        raise ValueError(f"Expected map names other than {PROTOCOL!r}: that entry says how the maps were made.")
    try:
        text = json.dumps(dict(meta), allow_nan=False)
        arrays = {name: np.asarray(S, dtype=np.float32) for name, S in maps.items()}
    except (TypeError, ValueError) as error:
        raise ValueError(f"Expected maps of numbers and a protocol that JSON can hold: {error}.") from None
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"Expected maps of finite numbers, got NaN or infinity in {name!r}.")
    # np.savez takes names as keyword arguments, so it fails for a class called "file".
    with atomic_open(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in {**arrays, PROTOCOL: np.array(text)}.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)
    return path
