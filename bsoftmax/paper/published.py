"""Tables 1 and 2 of the paper as data, and the data sets, networks and recipe of their cells.

Oh and Noh, "Beyond Softmax: Dual-Branch Sigmoid Architecture for Accurate Class Activation Maps", BMVC 2025. All
numbers are percent. Baseline: the softmax head, unclamped; "+ Ours": the sigmoid branch, positive weights only.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..training.finetuning import FinetuneConfig
from ..training.loop import BranchConfig

Values = tuple[float | None, ...]
SOURCES, CLAMP = ("softmax", "sigmoid"), "paper"
GRADIENT = ("gradcam", "gradcam++", "xgradcam", "layercam")


@dataclass(frozen=True)
class Corpus:
    """A data set: the names its folder may have, and the files that are needed (`bring`).

    `kept`: the classes are those of the pretrained trunks, so that only the branch is trained (stage 2).
    """

    key: str
    title: str
    folders: tuple[str, ...]
    bring: str
    kept: bool
    paper: str
    splits: tuple[str, ...] = ("test", "val")  # the first of them that exists is measured


@dataclass(frozen=True)
class Trunk:
    """A network of the paper: its backbone, the registry's name, and the methods measured on it.

    `pretrained`: there are public weights for all its layers; if not, stage 1 is run even where the classes are kept.
    """

    backbone: str
    name: str
    methods: tuple[str, ...]
    note: str
    pretrained: bool = True


@dataclass(frozen=True)
class Row:
    """A method on a backbone, as printed: its numbers without and with the branch, and the differences in brackets."""

    backbone: str
    method: str
    baseline: Values
    ours: Values
    change: Values


@dataclass(frozen=True)
class Table:
    """A table of the paper: its columns (data set, metric), its group of metrics, and its rows."""

    key: str
    title: str
    group: str  # of evaluation.measure.GROUPS
    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols it is measured under; they differ in localisation only, so that fidelity has one."""
        return ("official", "standard") if self.group == "localization" else ("standard",)


_WSOL = "metadata/{0}/ and dataset/{0}/ of the WSOL benchmark"
CORPORA = {
    corpus.key: corpus
    for corpus in (
        Corpus(
            "cub", "CUB-200-2011", ("CUB_200_2011", "CUB"),
            "CUB_200_2011/ as its archive unpacks, or " + _WSOL.format("CUB"), False,
            "6,033 train and 5,755 test images, which are not CUB-200-2011's 5,994 and 5,794",
        ),
        Corpus(
            "cars", "Stanford Cars", ("stanford_cars", "cars"),
            "stanford_cars/ with cars_train/, cars_test/ and devkit/ (cars_test_annos_withlabels.mat in it), or "
            + _WSOL.format("CARS"), False, "8,144 train and 8,041 test images",
        ),
        Corpus(
            "imagenet", "ImageNet-1K", ("imagenet", "ILSVRC", "ILSVRC2012", "imagenet-1k"),
            "imagenet/ with train/<wnid>/, val/ and the boxes of val, or as on Kaggle, or " + _WSOL.format("ILSVRC"),
            True, "1.28M train and 50K val images",
        ),
        Corpus(
            "openimages", "OpenImages-30K", ("OpenImages", "OpenImages30k"),
            _WSOL.format("OpenImages") + ", masks included", False, "29,819 train, 2,500 val and 5,000 test images",
        ),
    )
}  # fmt: skip

BACKBONES = {"vgg16": "VGG-16", "resnet50": "ResNet-50", "inception_v3": "InceptionV3"}
_ONE = "CAM is run on the same network as the gradient methods, which makes it Grad-CAM's map by construction"
TRUNKS = (
    Trunk("vgg16", "vgg16_cam", ("cam",), "conv6 + GAP + linear in place of the MLP; conv6 is not public, so stage 1 "
          "(last stage, conv6 and head, fine-tuned) is run on every data set", pretrained=False),
    Trunk("vgg16", "vgg16", GRADIENT, "the MLP kept: the branch is a whole MLP, 123.6 M parameters at 1000 classes"),
    Trunk("resnet50", "resnet50", ("cam", *GRADIENT), f"{_ONE}; the paper's differ, their weights are not public"),
    Trunk("inception_v3", "inception_v3", ("cam", *GRADIENT), f"{_ONE}; the authors' CAM network has two more layers "
          "that no public weights fill, their Grad-CAM network is the stock one with 5 x 5 maps"),
)  # fmt: skip

# Published for VGG-16 on ImageNet alone: SGD with Nesterov momentum, 3 epochs, batch 32, lr 0.003, ten times that for
# the branch, weight decay 5e-4, the step size a tenth when epoch 3 begins. Taken for every trunk and data set.
RECIPE = BranchConfig(views=2, epochs=3, batch=32, lr=0.03, momentum=0.9, weight_decay=5e-4, decay="step", solver="sgd")
STAGE1 = FinetuneConfig()  # the paper does not say how its classifiers were made
DIFFERS = (
    "The recipe of the branch is published for VGG-16 on ImageNet-1K alone; here every trunk and data set has it.",
    "The paper does not say how its classifiers were made. Here those of ImageNet-1K are the public weights; on the "
    "other data sets, and for VGG-16 with conv6 on all, head and last stage are fine-tuned from them.",
    "The trunk's features are computed once, for the image and its mirror; the authors' trunk sees a new random crop "
    "(224 of 256) and mirroring every epoch.",
    "The trunk and the softmax head are frozen as the paper says; in the authors' code the trunk's BatchNorm runs on "
    "batch statistics while the branch is trained.",
    "The branch's step size is 0.03 on every trunk; in the authors' code a pattern of names gives ResNet-50's 0.003.",
    "No code for Average Drop and Increase in Confidence was published: the protocol says how they are measured here.",
    "`official` is the authors' code (the first true box alone for Top-1 and GT-known Loc, bilinear maps but for CAM, "
    "1001 thresholds); their code for PxAP does not run, so that both protocols count pixels as the benchmark does.",
)

TABLES = {
    table.key: table
    for table in (
        Table(
            "table1", "Table 1: explanation fidelity", "fidelity",
            (("cub", "average_drop"), ("cub", "increase"), ("cars", "average_drop"), ("cars", "increase")),
            (
                Row("vgg16", "cam", (45.36, 7.08, 31.45, 9.68), (37.20, 18.86, 43.58, 10.74),
                    (-8.16, 11.78, 12.13, 1.06)),
                Row("vgg16", "gradcam", (38.88, 11.36, 56.10, 8.11), (35.66, 22.06, 9.96, 19.46),
                    (-3.22, 10.70, -46.14, 11.35)),
                Row("vgg16", "gradcam++", (31.11, 14.46, 39.63, 11.71), (33.98, 21.75, 9.46, 18.46),
                    (2.87, 7.29, -30.17, 6.75)),
                Row("vgg16", "xgradcam", (38.56, 11.10, 50.59, 9.14), (38.04, 20.99, 9.69, 20.53),
                    (-0.52, 9.89, -40.90, 11.39)),
                Row("vgg16", "layercam", (37.19, 11.27, 47.51, 9.70), (41.58, 19.50, 10.51, 19.39),
                    (4.39, 8.23, -37.00, 9.69)),
                Row("resnet50", "cam", (44.17, 14.76, 48.86, 4.32), (13.86, 18.42, 3.77, 40.62),
                    (-30.31, 3.66, -45.09, 36.30)),
                Row("resnet50", "gradcam", (46.38, 13.07, 29.53, 14.56), (19.07, 13.22, 3.66, 41.41),
                    (-27.31, 0.15, -25.87, 26.85)),
                Row("resnet50", "gradcam++", (43.15, 14.50, 24.68, 17.31), (18.88, 13.72, 3.65, 41.62),
                    (-24.27, -0.78, -21.03, 24.31)),
                Row("resnet50", "xgradcam", (46.38, 13.07, 29.53, 14.56), (19.07, 13.22, 3.66, 41.41),
                    (-27.31, 0.15, -25.87, 26.85)),
                Row("resnet50", "layercam", (43.69, 13.91, 22.64, 18.90), (19.07, 13.22, 3.66, 41.39),
                    (-24.62, -0.69, -18.98, 22.49)),
            ),
        ),
        Table(
            "table2", "Table 2: weakly-supervised localisation", "localization",
            (("imagenet", "top1_cls"), ("imagenet", "top1_loc"), ("imagenet", "gt_loc"), ("imagenet", "max_box_acc_v2"),
             ("openimages", "top1_cls"), ("openimages", "px_ap")),
            (
                Row("vgg16", "cam", (66.56, 43.13, 59.54, 60.00, 70.00, 58.17),
                    (None, 43.14, 59.57, 60.25, None, 60.11),
                    (None, 0.01, 0.03, 0.25, None, 1.94)),
                Row("vgg16", "gradcam", (69.61, 37.04, 49.02, 52.49, 70.12, 55.25),
                    (None, 44.68, 59.43, 60.17, None, 56.53), (None, 7.64, 10.41, 7.68, None, 1.28)),
                Row("resnet50", "cam", (73.89, 47.69, 60.80, 63.53, 74.02, 59.36),
                    (None, 49.44, 62.68, 64.73, None, 60.49), (None, 1.75, 1.88, 1.20, None, 1.13)),
                Row("resnet50", "gradcam", (69.01, 41.14, 55.28, 57.04, 74.02, 60.56),
                    (None, 40.34, 53.61, 57.98, None, 60.24), (None, -0.80, -1.67, 0.94, None, -0.32)),
                Row("inception_v3", "cam", (69.72, 42.16, 57.69, 63.51, 56.22, 62.25),
                    (None, 44.11, 60.12, 64.98, None, 63.65), (None, 1.95, 2.43, 1.47, None, 1.40)),
                Row("inception_v3", "gradcam", (67.79, 34.57, 46.35, 52.30, 68.56, 49.64),
                    (None, 33.72, 45.18, 53.06, None, 48.16), (None, -0.85, -1.17, 0.76, None, -1.48)),
            ),
        ),
    )
}  # fmt: skip


def trunk_of(backbone: str, method: str) -> Trunk:
    """The network of a table's row. Raises ValueError where the paper has none."""
    for trunk in TRUNKS:
        if trunk.backbone == backbone and method in trunk.methods:
            return trunk
    raise ValueError(f"The paper has no {method!r} on {backbone!r}: choose a row of its tables.")
