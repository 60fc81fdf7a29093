"""Output stride, crop and size of the bundled ImageNet trunk: top-1 of its softmax head, and where its maps lie.

Top-1 of 1000 classes: the classes of wild20/val that ImageNet has, the first 20 photographs of each, and wild20-boxes.
GT-known Loc on wild20-boxes: CAM of the true class, softmax, unclamped, bicubic to the input's size, min-max,
floor(255 x), strictly above int(0.2 max), largest contour, its box placed in the photograph, inclusive IoU >= 0.5 with
any box. wild20 is stored as squares of 224 px, so that a crop can only lose there. The choice was made by wild20/val;
the boxes are reported, not tuned on.

    python benchmarks/trunk_choice.py ../shared/data
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import timing  # noqa: F401  (puts the repository on the path)
from bundled import interval, rows
from timm.data.imagenet_info import ImageNetInfo
from wild20_in_imagenet import IN_IMAGENET, in_imagenet

from bsoftmax import View, class_map, open_model
from bsoftmax.cams.distortions import box_iou
from bsoftmax.data.sets import read_class_folders
from bsoftmax.images import render
from bsoftmax.images.read import read_rgb
from bsoftmax.models.dual_branch import DualBranch

EACH = 20
CASES = [  # stride, size, share of the photograph's square in the middle that is seen; None: all of it, squeezed
    (32, 224, None),
    (16, 224, None),
    (16, 224, 0.875),
    (16, 256, None),
    (16, 288, None),
    (32, 288, None),
]


def at_stride(whole, stride, size):
    """The bundled model with another output stride and input size."""
    model = DualBranch.pretrained("efficientnet_lite0", None, stride=stride)
    model.load_state_dict({k: v for k, v in whole.state_dict().items() if not k.startswith("sigmoid.")})
    model.spec = replace(model.spec, preprocessing=replace(model.spec.preprocessing, size=size))
    return model.eval()


def seen(image, crop):
    """The part of a photograph that the trunk sees, and its box (x0, y0, x1, y1) in the photograph."""
    w, h = image.size
    if crop is None:
        return image, (0, 0, w, h)
    side = crop * min(w, h)
    x, y = (w - side) / 2, (h - side) / 2
    box = (round(x), round(y), round(x + side), round(y + side))
    return image.crop(box), box


def placed(S, size, box):
    """The box of a map in the photograph's pixels."""
    values = render.minmax(render.upsample(S.numpy(), (size, size)))
    x0, y0, x1, y1 = render.box_at(values, 0.2) or (0, 0, 0, 0)
    sx, sy = (box[2] - box[0]) / size, (box[3] - box[1]) / size
    return box[0] + x0 * sx, box[1] + y0 * sy, box[0] + (x1 + 1) * sx - 1, box[1] + (y1 + 1) * sy - 1


def on_folders(model, crop, images):
    hits = []
    for n, k in enumerate(images.labels):
        part, _ = seen(read_rgb(images.paths[n]), crop)
        hits.append(int(model(model.preprocess(part))["softmax"].argmax()) == k)
    return hits


def on_boxes(model, crop, folder, number):
    names, truth = (folder / "classes.txt").read_text().split(), {}
    for path, *corners in rows(folder / "test" / "localization.txt"):
        truth.setdefault(path, []).append(tuple(map(float, corners)))
    top1, found = [], []
    for path, label in rows(folder / "test" / "class_labels.txt"):
        part, box = seen(read_rgb(folder / "images" / path), crop)
        view, k = View(model, model.preprocess(part)), number[names[int(label)]]
        top1.append(int(view.logits("softmax").argmax()) == k)
        mine = placed(class_map(view.evidence("softmax", k), "cam", False)[0], model.spec.preprocessing.size, box)
        found.append(any(box_iou(mine, one) >= 0.5 for one in truth[path]))
    return top1, found


def some_of_each(images):
    """The first EACH photographs of every class."""
    keep = []
    for k in sorted(set(images.labels)):
        keep += [n for n, label in enumerate(images.labels) if label == k][:EACH]
    return images.subset(keep)


def shown(hits):
    mean, low, high = interval(np.array(hits, float))
    return f"{mean:.1f} ({low:.1f} to {high:.1f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path("../shared/data"))
    options = parser.parse_args()
    whole = open_model("imagenet")
    images = some_of_each(in_imagenet(read_class_folders(options.data / "wild20" / "val")))
    info = ImageNetInfo()
    number = {name: info.label_names().index(wnid) for name, wnid in IN_IMAGENET.items()}
    print(f"| stride | size | crop | F | top-1, wild20/val, n={len(images)} | top-1, boxes | GT-known Loc |")
    print("|--:|--:|--:|--|--:|--:|--:|", flush=True)
    for stride, size, crop in CASES:
        model = at_stride(whole, stride, size)
        side = View(model, model.preprocess(read_rgb(images.paths[0]))).F.shape[2]
        hits = on_folders(model, crop, images)
        top1, found = on_boxes(model, crop, options.data / "wild20-boxes", number)
        what = "whole, squeezed" if crop is None else f"middle {crop:.1%}"
        cells = (stride, size, what, f"{side}x{side}", shown(hits), shown(top1), shown(found))
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
