"""Opens the app: python app.py, or as a Hugging Face Space."""

import os

from bsoftmax.data.limits import LIMITS
from demo.app.layout import build_app
from demo.app.theme import CSS, THEME
from demo.server.run_folder import write_into_one_folder
from demo.server.session import Session


def main() -> None:
    """Builds the page and serves it until stopped."""
    write_into_one_folder()
    build_app(Session()).launch(
        theme=THEME,
        css=CSS,
        run_history=False,  # writing every event to the browser's storage makes sliders several times slower
        max_file_size=LIMITS.zip_bytes,
        server_name=os.environ.get("GRADIO_SERVER_NAME"),
    )


if __name__ == "__main__":
    main()
