"""bsoftmax app: the page, served."""

from __future__ import annotations

import argparse
import importlib

from .arguments import MANY, add_number
from .console import listed


def run(options: argparse.Namespace) -> None:
    """Serves the page: Compare, Distort, All methods, Train, Evaluate."""
    try:
        serve = importlib.import_module("demo.app.serve")  # the library itself knows nothing of the page
    except ModuleNotFoundError as error:
        raise ValueError(f"The page needs {error.name}: python -m pip install {error.name}.") from None
    serve.serve(
        serve.Serving(
            options.host, options.port, options.root_path, options.max_upload, not options.no_training,
            listed(options.models), options.share_models, options.operation, options.mcp,
        )
    )  # fmt: skip


def add_options(sub: argparse.ArgumentParser) -> None:
    """The options of `app`."""
    sub.add_argument("--host", help="address to listen on; default 127.0.0.1, or $GRADIO_SERVER_NAME")
    add_number(sub, "--port", 1, 65535, help="default 7860, or $GRADIO_SERVER_PORT")
    sub.add_argument("--root-path", help="path under which a proxy serves the page, as /bsoftmax")
    add_number(sub, "--max-upload", 1, MANY, help="megabytes of an uploaded file")
    sub.add_argument("--no-training", action="store_true", help="without the tabs Train and Evaluate")
    sub.add_argument("--models", help="those of the menu, with commas between them; default: all of `bsoftmax models`")
    sub.add_argument("--share-models", metavar="DIR", help="a folder of checkpoints that every visitor may open")
    sub.add_argument(
        "--operation", action="store_true", help="answer /health and /metrics, and log a line of JSON for each call"
    )
    sub.add_argument("--mcp", action="store_true", help="serve MCP under /gradio_api/mcp; needs bsoftmax[mcp]")
