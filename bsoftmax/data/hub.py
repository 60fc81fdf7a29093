"""Data sets of the Hugging Face Hub, with their images stored as files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from ..images.read import SUFFIXES, ImageError, check_header
from ..utils.text import printable, quoted, shortened
from .file_tree import MANIFEST, Tick, atomic_folder
from .folders import SPLITS, ReadOptions, distinct
from .sets import DataError, DataSet, ImageSet, Skipped

PREFIX = "hf:"
_MAGIC = {b"\xff\xd8": ".jpg", b"\x89P": ".png", b"RI": ".webp", b"GI": ".gif", b"BM": ".bmp"}


def read_hub(source: str, work: str | Path, options: ReadOptions) -> DataSet:
    """Reads the first column of images and the first of class labels of "hf:owner/name[:config]".

    Images are written once, as they are stored, into work/hf-<hash>/. Raises DataError when `datasets` is not
    installed, the set cannot be loaded, or a column is missing.
    """
    folder = Path(work) / f"hf-{hashlib.sha256(source.encode()).hexdigest()[:16]}"
    if not (folder / MANIFEST).is_file():
        found = _load(source)
        total = sum(len(rows) for rows in found.values())
        if total > options.limits.images:
            raise DataError(f"Expected at most {options.limits.images:,} images, {quoted(source)} has {total:,}.")
        with atomic_folder(folder, DataError) as draft:
            (draft / MANIFEST).write_text(json.dumps(_write(source, found, draft, options.tick)), encoding="utf-8")
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    classes = tuple(manifest["classes"])
    splits = {
        split: ImageSet(
            folder,
            tuple(folder / file for file, _, _ in rows),
            tuple(label for _, label, _ in rows),
            classes,
            tuple(name for _, _, name in rows),
        )
        for split, rows in manifest["splits"].items()
        if rows
    }
    return DataSet("hub", splits, tuple(Skipped(*entry) for entry in manifest["skipped"]))


def _load(source: str) -> dict[str, Any]:
    """The splits of a set, under the names of SPLITS where they match."""
    try:
        import datasets
    except ImportError:
        raise DataError(
            "Sets of the Hub are read with datasets, which is not installed: pip install datasets."
        ) from None
    name, _, config = source.removeprefix(PREFIX).partition(":")
    try:
        found = datasets.load_dataset(name, config or None)
    except Exception as error:  # network, permission, name or format: any type
        why = shortened((str(error).splitlines() or [""])[0].rstrip("."), 200)
        raise DataError(f"{quoted(source)} cannot be loaded from the Hub ({type(error).__name__}: {why}).") from None
    split_names = {name: key for key, names in SPLITS.items() for name in names}
    parts = found if hasattr(found, "items") else {"all": found}
    parts = {split_names.get(key, key): rows for key, rows in parts.items()}
    return parts if len(parts) > 1 else {"all": next(iter(parts.values()))}


def _columns(source: str, features: dict[str, Any]) -> tuple[str, str]:
    kinds = {
        kind: [name for name, f in features.items() if type(f).__name__ == kind] for kind in ("Image", "ClassLabel")
    }
    for kind, what in (("Image", "images"), ("ClassLabel", "class labels")):
        if not kinds[kind]:
            raise DataError(f"{quoted(source)} has no column of {what}: its columns are {quoted(', '.join(features))}.")
    return kinds["Image"][0], kinds["ClassLabel"][0]


def _write(source: str, found: dict[str, Any], draft: Path, tick: Tick | None) -> dict[str, Any]:
    import datasets

    skipped: list[Skipped] = []
    splits: dict[str, list[tuple[str, int, str]]] = {}
    classes: tuple[str, ...] = ()
    done, total = 0, sum(len(rows) for rows in found.values())
    for split, rows in found.items():
        image, label = _columns(source, rows.features)
        classes = distinct([printable(str(name)) for name in rows.features[label].names])
        splits[split] = []
        for n, row in enumerate(_stored(rows.cast_column(image, datasets.Image(decode=False)))):
            name = f"{split}/{n:08d}"
            file = _write_image(row[image], draft, name.replace("/", "-"), row[label], len(classes))
            if isinstance(file, Skipped):
                skipped.append(Skipped(name, file.reason))
            else:
                splits[split].append((file, row[label], name))
            done += 1
            if tick:
                tick(done, total)
    return {"classes": classes, "splits": splits, "skipped": skipped}


def _stored(rows: Any) -> Iterable[dict[str, Any]]:
    return (rows[n] for n in range(len(rows)))


def _write_image(
    stored: dict[str, Any] | None, draft: Path, name: str, label: int | None, classes: int
) -> str | Skipped:
    """Writes the stored bytes of an image; returns the name of the file, or why it was skipped."""
    if label is None or not 0 <= label < classes:
        return Skipped(name, "it has no class")
    try:
        data = (stored or {}).get("bytes") or Path((stored or {}).get("path") or "").read_bytes()
        check_header(data, "it")
    except OSError:
        return Skipped(name, "its picture is missing")
    except ImageError as error:
        return Skipped(name, str(error).removesuffix("."))
    suffix = PurePosixPath((stored or {}).get("path") or "").suffix.lower()
    file = name + (_MAGIC.get(data[:2]) or (suffix if suffix in SUFFIXES else ".png"))
    (draft / file).write_bytes(data)
    return file
