"""Figures and raw maps into files that appear whole or not at all."""

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

from ..utils.files import atomic_open

PROTOCOL = "protocol"
_RC = {"pdf.fonttype": 42, "pdf.use14corefonts": False, "savefig.bbox": None, "savefig.transparent": False}
_KINDS = {
    ".png": {"format": "png", "dpi": 300, "metadata": {"Software": "bsoftmax"}},
    # The dpi of a PDF is that of the pictures in it; without a date the same figure gives the same file.
    ".pdf": {"format": "pdf", "dpi": 450, "metadata": {"Creator": "bsoftmax", "CreationDate": None}},
}
_SAVING = threading.Lock()  # rcParams are global, and the kind of font in a PDF can be set nowhere else


def save_figure(fig: Figure, path: str | Path) -> Path:
    """Writes a figure as .png (300 dpi) or .pdf (TrueType fonts embedded), whole or not at all.

    Raises ValueError for another ending or a folder that does not exist.
    """
    path = Path(path)
    options = _KINDS.get(path.suffix.lower())
    if options is None:
        raise ValueError(f"Expected a file name that ends in .png or .pdf, got {path.name!r}.")
    with _SAVING, matplotlib.rc_context(_RC), atomic_open(path) as file:
        fig.savefig(file, facecolor="white", **options)
    return path


def save_maps(path: str | Path, maps: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> Path:
    """Writes raw signed maps as float32, and `meta` as JSON under 'protocol', into one .npz without pickles.

    np.load(path)[name] gives a map back, json.loads(str(np.load(path)["protocol"])) the protocol. Raises ValueError
    for another ending, a map named 'protocol', maps of other than finite numbers, or meta that is no JSON.
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
    # Not np.savez: it takes the names as keyword arguments and so trips over a class called "file".
    with atomic_open(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in {**arrays, PROTOCOL: np.array(text)}.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)
    return path
