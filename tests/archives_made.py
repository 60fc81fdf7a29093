"""Data sets laid out exactly as their makers hand them out, with drawn pictures; and zips that nobody should bring."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from bsoftmax.data.layouts import read_data
from bsoftmax.data.limits import LIMITS
from bsoftmax.images.drawing import KINDS, draw_image

NAMES = tuple(KINDS)
WNIDS = ("n01440764", "n02102040", "n02979186", "n03000684", "n03028079", "n03394916")


def drawn(k: int, n: int, size: tuple[int, int], seed: int = 0):
    """Picture n of kind k: RGB image, mask bool [h, w], inclusive box. The same for the same numbers."""
    return draw_image(NAMES[k], size, np.random.default_rng([seed, k, n]))


def save(image: Image.Image, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **({"quality": 92} if path.suffix.lower() in (".jpg", ".jpeg") else {}))
    return path


def write(path: Path, lines) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def numbered(classes: int, train: int, test: int):
    """(split, class, number) of every picture, numbers counted through within a class."""
    for k in range(classes):
        for n in range(train + test):
            yield "train" if n < train else "test", k, n


def make_cub(root: Path, classes: int = 3, train: int = 4, test: int = 2, size=(64, 48), seed: int = 0) -> Path:
    """CUB_200_2011/ as its archive unpacks: one number a picture, boxes as x y w h."""
    base = Path(root) / "CUB_200_2011"
    table = {name: [] for name in ("images", "image_class_labels", "train_test_split", "bounding_boxes")}
    for i, (split, k, n) in enumerate(numbered(classes, train, test), 1):
        image, _, (x0, y0, x1, y1) = drawn(k, n, size, seed)
        name = f"{k + 1:03d}.{NAMES[k].title()}/{NAMES[k].title()}_{n:04d}.jpg"
        save(image, base / "images" / name)
        table["images"].append(f"{i} {name}")
        table["image_class_labels"].append(f"{i} {k + 1}")
        table["train_test_split"].append(f"{i} {int(split == 'train')}")
        table["bounding_boxes"].append(f"{i} {x0:.1f} {y0:.1f} {x1 - x0 + 1:.1f} {y1 - y0 + 1:.1f}")
    table["classes"] = [f"{k + 1} {k + 1:03d}.{NAMES[k].title()}" for k in range(classes)]
    for name, lines in table.items():
        write(base / f"{name}.txt", lines)
    return base


def structs(rows: list[dict]) -> np.ndarray:
    """A MATLAB array of structures."""
    return np.array([[tuple(row.values()) for row in rows]], dtype=[(key, object) for key in rows[0]])


def make_cars(root: Path, classes: int = 3, train: int = 4, test: int = 2, size=(64, 48), seed: int = 0,
              labelled: str = "devkit/cars_test_annos_withlabels.mat") -> Path:  # fmt: skip
    """cars_train/, cars_test/, devkit/*.mat: boxes count pixels from 1, classes too."""
    from scipy.io import savemat

    base, rows = Path(root) / "stanford_cars", {"train": [], "test": []}
    for split, k, n in numbered(classes, train, test):
        image, _, box = drawn(k, n, size, seed)
        name = f"{len(rows[split]) + 1:05d}.jpg"
        save(image, base / f"cars_{split}" / name)
        edges = {f"bbox_{key}": v + 1 for key, v in zip(("x1", "y1", "x2", "y2"), box)}
        rows[split].append({**edges, "class": k + 1, "fname": name})
    (base / "devkit").mkdir()
    names = np.array([[f"Maker {NAMES[k].title()} 2012" for k in range(classes)]], dtype=object)
    savemat(base / "devkit/cars_meta.mat", {"class_names": names})
    savemat(base / "devkit/cars_train_annos.mat", {"annotations": structs(rows["train"])})
    bare = [{key: v for key, v in row.items() if key != "class"} for row in rows["test"]]
    savemat(base / "devkit/cars_test_annos.mat", {"annotations": structs(bare)})
    if labelled:
        savemat(base / labelled, {"annotations": structs(rows["test"])})
    return base


def annotation(wnid: str, stem: str, size, boxes) -> str:
    """The XML of one picture of ImageNet."""
    entries = "".join(
        f"<object><name>{wnid}</name><pose>Unspecified</pose><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin>"
        f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for x0, y0, x1, y1 in boxes
    )
    return (
        f"<annotation><folder>val</folder><filename>{stem}</filename><size><width>{size[0]}</width>"
        f"<height>{size[1]}</height><depth>3</depth></size>{entries}</annotation>\n"
    )


def _imagenet(base: Path, data: Path, xml: Path | None, classes, train, val, size, seed, sorted_val):
    """The pictures of train and val; (stem, class, box) of val, whose numbers follow no order of classes."""
    for k in range(classes):
        for n in range(train):
            save(drawn(k, n, size, seed)[0], data / "train" / WNIDS[k] / f"{WNIDS[k]}_{n}.JPEG")
    found = []
    for i in range(classes * val):
        k, n = i % classes, train + i // classes
        stem = f"ILSVRC2012_val_{i + 1:08d}"
        image, _, box = drawn(k, n, size, seed)
        save(image, data / "val" / (WNIDS[k] if sorted_val else "") / f"{stem}.JPEG")
        if xml:
            write(xml / f"{stem}.xml", [annotation(WNIDS[k], stem, size, [box])])
        found.append((stem, k, box))
    return found


def make_imagenet_kaggle(root: Path, classes: int = 3, train: int = 4, val: int = 2, size=(64, 48), seed: int = 0,
                         xml: bool = True) -> Path:  # fmt: skip
    """ILSVRC/{Data,Annotations}/CLS-LOC and the LOC_ lists beside, as on Kaggle."""
    base = Path(root) / "imagenet"
    annotations = base / "ILSVRC/Annotations/CLS-LOC/val" if xml else None
    found = _imagenet(base, base / "ILSVRC/Data/CLS-LOC", annotations, classes, train, val, size, seed, False)
    (base / "ILSVRC/Data/CLS-LOC/test").mkdir()
    write(base / "LOC_synset_mapping.txt", [f"{WNIDS[k]} {NAMES[k]}, thing" for k in range(classes)])
    solved = [f"{stem},{WNIDS[k]} {' '.join(map(str, box))} " for stem, k, box in found]
    write(base / "LOC_val_solution.csv", ["ImageId,PredictionString", *solved[::-1]])
    return base


def make_imagenet_flat(root: Path, classes: int = 3, train: int = 4, val: int = 2, size=(64, 48), seed: int = 0,
                       xml: bool = True, devkit: bool = True) -> Path:  # fmt: skip
    """train/<wnid>/, a flat val/, the development kit, whose numbers are not the order of the wnids, and the XML."""
    from scipy.io import savemat

    base = Path(root) / "imagenet"
    found = _imagenet(base, base, base / "bbox/val" if xml else None, classes, train, val, size, seed, False)
    if devkit:
        ids = {k: classes - k for k in range(classes)}
        kit = base / "ILSVRC2012_devkit_t12/data"
        write(kit / "ILSVRC2012_validation_ground_truth.txt", [ids[k] for _, k, _ in found])
        rows = [{"ILSVRC2012_ID": ids[k], "WNID": WNIDS[k], "words": NAMES[k]} for k in range(classes)]
        savemat(kit / "meta.mat", {"synsets": structs(rows)})
    return base


def make_imagenet_folders(root: Path, classes: int = 3, train: int = 4, val: int = 2, size=(64, 48), seed: int = 0):
    """train/<wnid>/ and val/<wnid>/, as most scripts sort them, with the XML."""
    base = Path(root) / "imagenet"
    _imagenet(base, base, base / "Annotations/CLS-LOC/val", classes, train, val, size, seed, True)
    return base


def make_wsol(root: Path, classes: int = 3, train: int = 4, test: int = 2, size=(64, 48), seed: int = 0) -> Path:
    """metadata/CUB/<split>/ and dataset/CUB/, the benchmark's own tree; gives the folder of the metadata."""
    base = Path(root) / "metadata/CUB"
    table = {split: {"image_ids": [], "class_labels": [], "image_sizes": [], "localization": []}
             for split in ("train", "val", "test")}  # fmt: skip
    for split, k, n in [*numbered(classes, train, test), *(("val", k, train + test) for k in range(classes))]:
        image, _, box = drawn(k, n, size, seed)
        name = f"{k + 1:03d}.{NAMES[k].title()}/{NAMES[k]}_{n}.jpg"
        save(image, Path(root) / "dataset/CUB" / name)
        table[split]["image_ids"].append(name)
        table[split]["class_labels"].append(f"{name},{k}")
        table[split]["image_sizes"].append(f"{name},{size[0]},{size[1]}")
        table[split]["localization"].append(f"{name},{','.join(map(str, box))}")
    for split, files in table.items():
        for file, lines in files.items():
            write(base / split / f"{file}.txt", lines)
    return base


def make_openimages(root: Path, classes: int = 3, train: int = 4, test: int = 2, size=(64, 48), seed: int = 0) -> Path:
    """metadata/OpenImages/ and dataset/OpenImages/: masks in two pieces a picture, the first with what to ignore."""
    meta, data = Path(root) / "metadata/OpenImages", Path(root) / "dataset/OpenImages"
    lists = {split: ([], [], []) for split in ("train", "val", "test")}
    for split, k, n in [*numbered(classes, train, test), *(("val", k, train + test) for k in range(classes))]:
        image, mask, _ = drawn(k, n, size, seed)
        stem = f"{split}/{NAMES[k]}/{n:016x}"
        save(image, data / f"{stem}.jpg")
        ids, labels, places = lists[split]
        ids.append(f"{stem}.jpg")
        labels.append(f"{stem}.jpg,{k}")
        if split == "train":
            continue
        half = np.arange(size[1])[:, None] < size[1] // 2
        edge = np.zeros_like(mask)
        edge[0] = True
        for name, pixels in (("0", mask & half), ("1", mask & ~half), ("ignore", edge)):
            save(Image.fromarray(pixels.astype(np.uint8) * 255), data / f"{stem}_{name}.png")
        places += [f"{stem}.jpg,{stem}_0.png,{stem}_ignore.png", f"{stem}.jpg,{stem}_1.png,"]
    for split, (ids, labels, places) in lists.items():
        write(meta / split / "image_ids.txt", ids)
        write(meta / split / "class_labels.txt", labels)
        write(meta / split / "image_sizes.txt", [f"{name},{size[0]},{size[1]}" for name in ids])
        if places:
            write(meta / split / "localization.txt", places)
    return meta


def png(side: int = 8, seed: int = 0) -> bytes:
    """A small picture of noise."""
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def zip_of(path: Path, files, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """A zip of {name: bytes} or of (name or ZipInfo, bytes), in this order."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items() if isinstance(files, dict) else files:
            archive.writestr(name, data)
    return path


def two_classes(prefix: str = "", count: int = 2) -> dict[str, bytes]:
    """The pictures of an honest zip: cat and dog."""
    return {f"{prefix}{c}/{n}.png": png(seed=10 * k + n) for k, c in enumerate(("cat", "dog")) for n in range(count)}


def rows(path: Path) -> list[list[str]]:
    with open(path, newline="") as file:
        return list(csv.reader(file))


def put(root: Path, files) -> Path:
    """Files below a folder from {name: bytes}."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def pictures(prefix: str, **counts: int) -> dict[str, bytes]:
    return {f"{prefix}{c}/{n}.png": png(seed=n + 100 * len(c)) for c, count in counts.items() for n in range(count)}


DOORS = {"folder": None, "zip": "", "zip in a folder": "my data/v 2/"}  # what a zip puts around everything


def through(door: str, work: Path):
    """A function that brings files {name: bytes} in through one of the doors."""

    def bring(files, limits=LIMITS, **options):
        if DOORS[door] is None:
            return read_data(put(work / "data", files), work / "work", limits, **options)
        path = zip_of(work / "data.zip", {DOORS[door] + name: data for name, data in files.items()})
        return read_data(path, work / "work", limits, **options)

    return bring
