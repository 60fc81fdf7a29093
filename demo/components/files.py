"""Files the page hands out: copies in Gradio's cache, thumbnails, files written on request."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from gradio import processing_utils
from gradio.utils import get_upload_folder
from PIL import Image

from bsoftmax.images.read import ImageError, read_rgb

from ..server.ownership import Ownership, current_session
from ..server.session import fingerprint, jpeg


def _unlink(path: str) -> None:
    """Removes a file of the cache, and its folder where it was the last."""
    with suppress(OSError):
        Path(path).unlink()
        Path(path).parent.rmdir()


FILES = Ownership(_unlink)  # of Gradio's cache, which all apps of a process share
THUMBNAIL_SIDE = 320  # pixels of a picture's longer side in a gallery


def copy_to_cache(path: str | Path) -> str:
    """A copy of a file in Gradio's cache, which the page may download until its session ends."""
    return used(processing_utils.save_file_to_cache(path, get_upload_folder()))


def used(path: str) -> str:
    """Notes that the session of this event uses a file; returns its path. Files outside of the cache are left alone."""
    if Path(get_upload_folder()).resolve() in Path(path).resolve().parents:
        FILES.use(path, current_session())
    return path


def write_to_cache(name: str, write: Callable[[Path], Any]) -> str:
    """Lets `write` make a file of this name and moves it to Gradio's cache."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(path)
        return copy_to_cache(path)


def zip_to_cache(name: str, files: Iterable[str]) -> str:
    """A zip of some files, under their names, in Gradio's cache."""

    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, Path(file).name)

    return write_to_cache(name, write)


def bytes_to_cache(name: str, data: bytes) -> str:
    """A file of this content, under its hash. (Gradio's own rewrites it in place while others download it.)"""
    path = Path(get_upload_folder()) / fingerprint(data) / name
    used(str(path))  # before it is looked for, so that nobody who leaves takes it away in between
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{uuid4().hex}.part")
        part.write_bytes(data)
        part.replace(path)
    return str(path)


def image_to_cache(image: Image.Image) -> str:
    """A picture as JPEG."""
    return bytes_to_cache("image.jpeg", jpeg(image))


def thumbnail(path: str | Path) -> str | None:
    """A small copy of a picture; None when it cannot be read."""
    try:
        return image_to_cache(read_rgb(path, THUMBNAIL_SIDE))
    except ImageError:
        return None


def gallery_items(pictures: Iterable[tuple[str | Path, str]]) -> list[tuple[str, str]]:
    """(thumbnail, caption) of every picture that can be read."""
    return [(small, caption) for path, caption in pictures if (small := thumbnail(path))]
