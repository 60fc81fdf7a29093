"""Maps, training and measuring on a GPU, compared with the processor's.

    python scripts/gpu.py [--device cuda]

Every method on six networks (random weights, the bundled model excepted) explains gradio's lion on both, the page's own
passes of Score-CAM and RISE among them. Then `bsoftmax train` and `evaluate` run on the drawn sample set, once
with and once without the GPU in sight. Prints, TF32 off, the largest difference of each map in parts of its largest
value, 1 - cosine of the two maps, and the time of both; then what both runs measured. Exit code 1 where the cosine says
that maps differ or a command fails.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import gradio as gr
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cosine_similarity

from bsoftmax import METHODS, DualBranch, View, class_map, open_model
from bsoftmax.cams import unavailable
from bsoftmax.cams.copies import UnsuitedError
from bsoftmax.cams.view import masked_vectors
from bsoftmax.data.sample import write_sample
from demo.server import gpu

ROOT = Path(__file__).resolve().parents[1]
LION = Image.open(gr.get_image("lion.jpg")).convert("RGB")
TRUNKS = ("imagenet", "resnet50", "vgg16", "mobilenetv3_large_100", "convnext_tiny", "deit_small_patch16_224")
ONCE = ("scorecam", "rise")  # thousands of passes on a processor: on the bundled model alone
TOLERANCE = 1e-3  # of 1 - cosine: float32 sums in another order, and units of a ReLU that they turn on or off
DESCENT = ("opticam",)  # a hundred steps of descent, which magnify rounding: shown, and no failure


def dual(trunk: str) -> DualBranch:
    """A model with a branch; networks other than the bundled one have random weights."""
    torch.manual_seed(0)
    if trunk == "imagenet":
        return open_model(trunk).eval()
    model = DualBranch.pretrained(trunk, weights=None)
    model.add_branch("clone").requires_grad_(False)
    return model.eval()


def maps(model: DualBranch, method: str, run: Any = masked_vectors) -> tuple[dict[str, Tensor], float]:
    """The signed maps of both heads on the model's device, and their seconds (of quick ones the second time)."""
    x = model.preprocess(LION)
    for _ in range(1 if model.device.type == "cpu" and METHODS[method].slow else 2):
        begin = time.perf_counter()
        view = View(model, x, run)
        k = view.logits("softmax").argmax(1)
        made = {head: class_map(view.evidence(head, k), method).detach().cpu() for head in ("softmax", "sigmoid")}
        seconds = time.perf_counter() - begin
    return made, seconds


def compare_maps(trunk: str, device: str) -> bool:
    """Prints a line for each method; whether all agree."""
    here, there = dual(trunk), dual(trunk).to(device)
    agree = []
    for method in METHODS:
        if unavailable(here, method) or (method in ONCE and trunk != TRUNKS[0]):
            continue
        try:
            expected = maps(here, method)
        except UnsuitedError as error:
            print(f"{trunk:22} {method:12} {error}")
            continue
        title = f"{trunk:22} {method:12}"
        agree.append(said(title, expected, maps(there, method)) or method in DESCENT)
        if method in ONCE:
            agree.append(said(f"{title} on the page", expected, maps(here, method, gpu.masked_vectors)))
    return all(agree)


def said(title: str, expected: tuple[dict[str, Tensor], float], found: tuple[dict[str, Tensor], float]) -> bool:
    """Prints the difference of two results of `maps`, and their seconds; whether they agree."""
    (slow, seconds), (fast, fewer) = expected, found
    off = max(float((slow[h] - fast[h]).abs().max() / slow[h].abs().max().clamp(min=1e-30)) for h in slow)
    turned = max(1 - float(cosine_similarity(slow[h].double().flatten(), fast[h].double().flatten(), 0)) for h in slow)
    agree = turned <= TOLERANCE
    word = "ok" if agree else "DIFFERS"
    print(f"{title:48} {off:8.1e} {turned:8.1e} {1e3 * seconds:9.1f} ms {1e3 * fewer:9.1f} ms  {word}", flush=True)
    return agree


def command(*words: str, seen: bool) -> float:
    """Runs `bsoftmax`, with a GPU in sight or none; its seconds. Raises CalledProcessError."""
    environment = dict(os.environ) if seen else os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    begin = time.perf_counter()
    program = (sys.executable, "-m", "bsoftmax", *words)
    subprocess.run(program, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def runs(folder: Path, seen: bool) -> dict[str, float]:
    """What the two commands measure on the sample set, and their seconds."""
    data, out = str(write_sample(folder / "sample")), folder / ("gpu" if seen else "processor")
    cache, model = f"{out}/cache", f"{out}/model.safetensors"
    measured = ("--model", model, "--metrics", "localization")
    seconds = {
        "train": command("train", data, "--cache", cache, "--out", model, seen=seen),
        "evaluate": command("evaluate", data, *measured, "--cache", cache, "--out", f"{out}/e", seen=seen),
    }
    found = {f"{name}, seconds": taken for name, taken in seconds.items()}
    results = json.loads((out / "e" / "results.json").read_text())
    print("measured on", results["protocol"]["device"])
    found |= {f"trained: {name}": value for name, value in open_model(model).spec.metrics["val"].items()}
    for column in results["columns"]:
        found |= {f"{column['key']}: {name}": cell["value"] for name, cell in column["metrics"].items()}
    return found


def main() -> None:
    """Exit code 1 where something differs or fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--trunks", default=",".join(TRUNKS), help="'' for the commands alone")
    options = parser.parse_args()
    device = options.device
    torch.backends.cudnn.allow_tf32 = False
    name = torch.cuda.get_device_name() if device == "cuda" else device
    print(f"torch {torch.__version__}, {name}; map, largest difference, 1 - cosine, processor, {device}")
    agree = [compare_maps(trunk, device) for trunk in filter(None, options.trunks.split(","))]
    with tempfile.TemporaryDirectory() as folder:
        slow, fast = (runs(Path(folder), seen) for seen in (False, True))
    print("command or metric, processor, GPU")
    for name, value in slow.items():
        print(f"{name:60} {value:10.4f} {fast[name]:10.4f}")
    sys.exit(not all(agree))


if __name__ == "__main__":
    main()
