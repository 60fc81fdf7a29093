"""Opens the app: python app.py, with --mcp for agents besides; or as a Hugging Face Space."""

import sys

from demo.server.storage import keep_hub_cache

keep_hub_cache()  # before the Hub's client is imported

from demo.server import gpu  # noqa: E402, F401, I001 (before torch, on ZeroGPU)
from demo.app.serve import Serving, serve  # noqa: E402

if __name__ == "__main__":
    try:
        serve(Serving(mcp="--mcp" in sys.argv[1:]))
    except ValueError as error:
        sys.exit(str(error))
