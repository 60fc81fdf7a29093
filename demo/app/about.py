"""The About tab: what is shown, by which methods and model."""

from __future__ import annotations

import gradio as gr

from bsoftmax import METHODS
from bsoftmax.models import zoo

from ..compare.page import Page

TEXT = """
## Why two heads
Softmax cannot see a number added to all its logits. So the weights a class activation map is made of are free to move:
add the same vector to every class and each probability stays what it was, while the map brightens, fades or turns over.
A *sigmoid branch* (a second head, trained on the same frozen features with class-balanced binary cross-entropy) has no
such freedom: each class's weights are pinned in size and in sign. This page draws both, from one pass of one network.

**Log-odds** is the control: log p/(1-p) of the same frozen head. It needs no training and no common shift moves it.

## How to read the frames
- A map is S = sum over channels of alpha x F: signed, unscaled, 14 x 14 for the bundled model, drawn over the whole
  picture, which the network saw squeezed to a square.
- *Each map* shows its positive part from its lowest to its highest value; *shared* puts all columns on one range;
  *signed* keeps what speaks against the class.
- The *clamp* keeps positive weights only. The paper applies it to the sigmoid branch and not to softmax; switch it on
  for both to see whether the head or the clamp makes the difference.
- *Difference* is the sigmoid branch's map minus the softmax head's, each as it is shown (with its clamp and its
  distortion), without its negative part, over its own maximum: from -1 (blue: softmax only) to 1 (red: branch only).
- The branch *finds* a class where its sigmoid is 0.5 or more: several at once, or none, which softmax cannot say.
- The box is what lies above the threshold: the largest connected part.

## Does the branch help?
On the photographs we measured, the positive clamp moves the maps more than the training of the branch does, and
log-odds, which need no training, find boxes as well or better; `docs/results.md` in the repository has the tables and
how they were made. *Evaluate* answers the question for your own images, with intervals. *Train* makes a softmax head
and a branch for your own classes. What you bring is seen by your browser alone; closing the tab
removes it within seconds, and after a lost connection it goes in about two hours.
"""

PAPER = """## Paper
Oh and Noh, *Beyond Softmax: Dual-Branch Sigmoid Architecture for Accurate Class Activation Maps*, BMVC 2025. This is an
independent implementation, written from the paper. Apache-2.0."""

# languages: for those whose browser asks for another
LINKS = "[For programs and agents](programs?view=api) · [English](?lang=en) · [한국어](?lang=ko)"


def build(page: Page) -> None:
    """Lays the tab out, from the registries and the bundled checkpoint's metadata."""
    gr.Markdown(TEXT)
    methods = "\n".join(f"| {m.label} | {m.paper} |" for m in METHODS.values())
    gr.Markdown(f"## Methods\n| method | from |\n|---|---|\n{methods}")
    model = page.session.model(zoo.DEFAULT)
    spec = model.spec
    about = f"{spec.trunk} with public ImageNet weights, {len(model.classes)} classes, features from `{spec.layer}`."
    gr.Markdown(f"## The bundled model\n{about}\n{branch_sentence(spec.metrics)}\n\n{PAPER}\n\n{LINKS}")


def branch_sentence(metrics: dict) -> str:
    """What the bundled branch was fitted to and what it reaches, limits included; empty when its metadata lacks it."""
    if not (judged := metrics.get("wild20")):
        return ""
    head, branch = judged["softmax"], judged["gauge and rows"]
    return (
        "Its branch was fitted to one photograph of each class, not to ImageNet's training set (`docs/branches.md`). "
        f"On {branch['images']:,} other photographs, of 17 of its classes, it names the right one of all in "
        f"{branch['top1']:.1f} % (the softmax head: {head['top1']:.1f} %); it finds the right class, with a sigmoid "
        f"above 0.5, in {branch['true_found']:.1f} %, and {branch['classes_found']:.1f} classes in a photograph, as "
        "those that look alike are found together. It is for demonstration and research."
    )
