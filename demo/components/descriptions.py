"""Descriptions of components, made once: gradio describes all of them anew for the session of every visitor."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import gradio as gr
from gradio.blocks import Block


def describe_once(page: gr.Blocks) -> None:
    """Keeps what `get_config` says of each component of a finished page, but for its value, from the first call on."""
    for block in page.blocks.values():
        block.get_config = _remembered(block)  # type: ignore[method-assign]


def _remembered(block: Block) -> Callable[[], dict[str, Any]]:
    described = cache(block.get_config)

    def get_config() -> dict[str, Any]:
        config = dict(described())
        if "value" in config:
            config["value"] = getattr(block, "value", None)
        return config

    return get_config
