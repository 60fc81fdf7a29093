"""How timm's architectures are cut: docs/trunks.md, with random weights, every parameter moved off its initial value.

For each name what `bsoftmax models --check NAME` prints: the size of F, what was done to the output stride, what is
kept aside, and by how much the logits of one random image differ from those of timm's network at the same stride.

    python benchmarks/trunks.py            # all names, about two minutes on a free core; --out for another file
"""

import argparse
import sys
import time
from pathlib import Path

import timing  # noqa: F401  (puts the repository on the path)
import timm

from bsoftmax.cli.models import checked

NAMES = """
resnet18 resnet50.tv_in1k resnext50_32x4d seresnet50 res2net50_26w_4s regnety_008 resnetv2_50 nf_resnet50
efficientnet_b0 efficientnet_lite0 mobilenetv2_100 mnasnet_100 mobilenetv3_large_100 mobilenetv4_conv_small
ghostnet_100 hardcorenas_a rexnet_100 convnext_atto convnextv2_atto inception_next_tiny mobileone_s0 repvgg_a0
densenet121 dla34 vgg16_bn ese_vovnet19b_dw dpn68 hrnet_w18_small hgnetv2_b0 selecsls42b cspresnet50 starnet_s1
repvit_m1 fastvit_t8 mobilevit_xs edgenext_xx_small efficientvit_b0 efficientvit_m0 mambaout_femto poolformer_s12
pvt_v2_b0 swin_tiny_patch4_window7_224 coatnet_nano_rw_224 nest_tiny twins_svt_small gcvit_xxtiny hiera_tiny_224
mvitv2_tiny vit_tiny_patch16_224 deit_small_distilled_patch16_224 deit3_small_patch16_224 vit_small_patch14_dinov2
vit_small_patch14_reg4_dinov2 eva02_tiny_patch14_224 vit_small_patch16_dinov3 vit_small_patch16_rope_ape_224
beit_base_patch16_224 cait_xxs24_224 xcit_nano_12_p16_224 convit_tiny vit_relpos_small_patch16_224 mixer_s32_224
resmlp_12_224 levit_128 efficientformer_l1 swiftformer_xs visformer_tiny coat_lite_tiny coat_tiny crossvit_tiny_240
pit_ti_224 tnt_s_legacy_patch16_224 volo_d1_224 sequencer2d_s
""".split()  # noqa: SIM905 (a list of 75 quoted names would be no easier to read)

HEAD = """# Trunks

How {count} of timm's architectures are cut, written by `python benchmarks/trunks.py` (timm {timm}, random weights with
every parameter moved off its initial value, one random image at the network's own size). {maps} give maps. *Logits*:
the largest difference from the logits of timm's network at the same output stride, as a part of the largest logit.
*Stride*: what was done to it; after a lift, *F* is the largest difference at every second position from timm's own maps
at its own stride, as a part of the largest value: 0 but for rounding, unless a layer averages over all positions
(squeeze-and-excitation), the network pads asymmetrically, or its last pool is gone (VGG). `bsoftmax models --check
NAME` says the same of any name.

A lift leaves what each position computes; it changes what squeeze-and-excitation and the pooling average over. What it
does to a classifier's accuracy can only be measured with weights, which `benchmarks/trunk_choice.py` does for the
bundled EfficientNet-Lite0; of the others nothing was measured here.

| name | family | F | stride | kept aside | head | logits | output stride |
|---|---|---|--:|--:|---|--:|---|
"""


def line(cut):
    if cut.refused:
        return f"| {cut.name} | {cut.family} | none | | | | | {cut.refused} |"
    N, P, Q = cut.shape
    head = f"{cut.head[0]} to {cut.head[1]}" if cut.head[1] else f"none: {cut.head[0]} features"
    moved = "" if cut.moved is None else f"; F {cut.moved:.0e}"
    aside = f"{cut.aside}" if cut.aside and cut.aside < 100 else ""
    return (
        f"| {cut.name} | {cut.family} | {N}x{P}x{Q} | {cut.stride:g} | {aside} | {head} | {cut.difference:.0e} | "
        f"{cut.lifted or 'its own'}{moved} |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "trunks.md")
    parser.add_argument("names", nargs="*", help="measured anew, the file's other rows stay; default: all")
    options = parser.parse_args()
    old = options.out.read_text().splitlines() if options.names and options.out.is_file() else []
    rows = {text.split(" | ")[0][2:]: text for text in old if text.startswith("| ")}
    rows.pop("name", None)
    for name in options.names or NAMES:
        start = time.perf_counter()
        rows[name] = line(checked(name))
        print(f"{rows[name]} {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
        write(options.out, rows)


def write(path, rows):
    ordered = sorted(rows, key=lambda name: NAMES.index(name) if name in NAMES else len(NAMES))
    maps = sum(" | none | " not in text for text in rows.values())
    text = HEAD.format(count=len(rows), maps=maps, timm=timm.__version__)
    path.write_text(text + "\n".join(rows[name] for name in ordered) + "\n")


if __name__ == "__main__":
    main()
