"""A move of the Distort panel on a head the browser cannot distort: VGG-16's MLP, random weights, 1000 classes, CPU.

What the server computes for one move (shifted last layer, gradients at F through the head, every map, the reply):
median of 20 moves after 3 warm-up moves; target: 150 ms. Trunk calls are counted: there must be none.
"""

import time
from statistics import median

import gradio as gr
import timing
import torch

from bsoftmax import DualBranch
from demo.distort import panel
from demo.server.session import Session

MOVES, WARM = 20, 3


def main():
    model = DualBranch.pretrained("vgg16", weights=None)
    model.add_branch().requires_grad_(False)
    session = Session()
    session._models.get("vgg16", lambda: model)
    analysis = session.analysis(gr.get_image("lion.jpg"), "vgg16")
    calls, forward = [], model.trunk.forward
    model.trunk.forward = lambda x: calls.append(1) or forward(x)
    payload = {"photo": analysis.key, "class_index": 1, "method": "gradcam"}
    print(timing.machine(torch.get_num_threads()), "\n")
    print("| a move | median ms | slowest ms | trunk calls |\n|---|--:|--:|--:|")
    for name, both in (("softmax head", False), ("both heads", True)):
        times = []
        for n in range(WARM + MOVES):
            start = time.perf_counter()
            reply = panel.redraw(session, payload | {"shift": {"channels": [n], "delta": 0.1}, "both": both})
            times.append(1e3 * (time.perf_counter() - start))
            assert "error" not in reply, reply
        times = times[WARM:]
        print(f"| into the {name} | {median(times):.0f} | {max(times):.0f} | {len(calls)} |")


if __name__ == "__main__":
    main()
