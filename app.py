"""Opens the app: python app.py, or as a Hugging Face Space."""

from demo.server.storage import keep_hub_cache

keep_hub_cache()  # before the Hub's client is imported

from demo.server import zero_gpu  # noqa: E402, F401, I001 (before torch, on ZeroGPU)
from demo.app.serve import serve  # noqa: E402

if __name__ == "__main__":
    serve()
