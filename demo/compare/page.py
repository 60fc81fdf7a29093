"""What a tab is built from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from bsoftmax.data.limits import Limits

from ..server.session import Session
from .tab import Controls


@dataclass(frozen=True)
class Page:
    """The page around one tab: the widgets of Compare, and the state that tabs share."""

    session: Session
    controls: Controls
    tabs: gr.Tabs
    tab: gr.Tab  # the one being built
    limits: Limits | None  # of data sets; None: no training here
    workspaces: Any = None  # the `Workspaces` of Train and Evaluate
