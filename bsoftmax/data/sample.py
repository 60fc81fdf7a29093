"""A sample data set of drawn images with exact boxes and masks, as a folder or a zip."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import numpy as np
from PIL import Image

from ..images.drawing import KINDS, draw_image
from ..utils.text import quoted
from .annotations import MASKS, TABLE, write_table
from .file_tree import MANIFEST, atomic_folder
from .sets import DataError

_TRAIN_PER_VAL = 3  # training images for each validation image


def write_sample(folder: str | Path, per_class: int = 30, size: int = 160, seed: int = 0) -> Path:
    """Draws train/<class>/, val/<class>/ (a third as many), masks/ and boxes.csv into a new folder and returns it.

    An existing set with the same arguments is kept. Raises DataError when the folder holds something else.
    """
    folder = Path(folder)
    made = json.dumps({"sample": 1, "per_class": per_class, "size": size, "seed": seed})
    manifest = folder / MANIFEST
    if manifest.is_file() and manifest.read_text(encoding="utf-8") == made:
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"Expected a new or an empty folder for the sample set, {quoted(str(folder))} is not empty.")
    with atomic_folder(folder, DataError) as draft:
        _draw(draft, {"train": per_class, "val": max(2, per_class // _TRAIN_PER_VAL)}, size, seed)
        (draft / MANIFEST).write_text(made, encoding="utf-8")
    return folder


def _draw(root: Path, counts: dict[str, int], size: int, seed: int) -> None:
    rows = []
    for s, (split, count) in enumerate(counts.items()):
        for k, kind in enumerate(KINDS):
            for n in range(count):
                image, mask, box = draw_image(kind, (size, size), np.random.default_rng([seed, s, k, n]))
                name = Path(split, kind, f"{n:03d}.jpg")
                for path in (root / name, root / MASKS / name):
                    path.parent.mkdir(parents=True, exist_ok=True)
                image.save(root / name, quality=92)
                Image.fromarray(mask).save((root / MASKS / name).with_suffix(".png"))
                rows.append((name.as_posix(), *box))
    write_table(root / TABLE, rows)


def sample_zip(path: str | Path, per_class: int = 30, size: int = 160, seed: int = 0) -> Path:
    """Writes the set of write_sample as a zip, atomically; equal arguments give equal bytes."""
    path = Path(path)
    draft = path.with_name(f".{uuid4().hex}.part")
    try:
        with TemporaryDirectory() as work, zipfile.ZipFile(draft, "x") as archive:
            root = write_sample(Path(work) / "sample", per_class, size, seed)
            for file in sorted(p for p in root.rglob("*") if p.is_file() and p.name != MANIFEST):
                archive.writestr(zipfile.ZipInfo(file.relative_to(root).as_posix()), file.read_bytes())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return path
