"""What the page's events call for people's own models: a checkpoint opened, a trained one shown, sent to the Hub."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import processing_utils
from gradio.utils import get_upload_folder

from bsoftmax.images.read import ImageError, read_rgb

from ..components.inputs import Menu, sentences
from ..server.push import push
from ..server.user_models import Picture, UserModel, opened
from .handlers import Handlers

THUMB = 320  # pixels of a picture's longer side in a gallery
LABEL = 60  # letters of a model's name in the menu


def kept(path: str | Path) -> str:
    """A copy of a file in gradio's cache, where the page may have it."""
    return processing_utils.save_file_to_cache(path, get_upload_folder())


def thumbnail(path: str | Path) -> str | None:
    """A small copy of a picture in gradio's cache; None when it cannot be read."""
    try:
        return processing_utils.save_pil_to_cache(read_rgb(path, THUMB), get_upload_folder(), format="jpeg")
    except ImageError:
        return None


def gallery(pictures: Iterable[Picture]) -> list[Picture]:
    """Small copies of pictures under their captions."""
    return [(small, caption) for path, caption in pictures if (small := thumbnail(path))]


class UserModelHandlers(Handlers):
    """Answers are {name of a widget: value}, see `doors.spread`."""

    def menu(self, owner: str, **more: Any) -> Menu:
        """The model menu of one browser."""
        own = [(owned.label, owned.token) for owned in self.session.own.of(owner)]
        return Menu(choices=[*((name, name) for name in self.session.model_names()), *own], **more)

    def add(
        self, owner: str, label: str, path: str | Path, examples: Sequence[Picture] = (),
        differing: Sequence[Picture] = (),
    ) -> UserModel:  # fmt: skip
        """Opens a checkpoint for one browser, under a name that its menu does not have yet."""
        label = label[:LABEL].strip() or "model"
        taken = {owned.label for owned in self.session.own.of(owner)} | set(self.session.model_names())
        names = [label, *(f"{label} ({n})" for n in range(2, len(taken) + 3))]
        free = next(name for name in names if name not in taken)
        return self.session.own.add(owner, free, opened(path), examples, differing)

    @sentences
    def open_checkpoint(self, path: str, photo: str | None, method: str | None, request: gr.Request) -> dict[str, Any]:
        """Opens a .safetensors checkpoint for this browser alone and shows its maps of the current photograph."""
        owned = self.add(request.session_hash, Path(path).stem, path)
        return self.choose(owned.token, owned.owner, photo, method)

    @sentences
    def see(self, method: str | None, request: gr.Request) -> dict[str, Any]:
        """Shows the model trained last in the Compare tab, on a validation picture of its owner's."""
        owned = self.session.own.trained(request.session_hash)
        return self._on(owned, owned.examples[0], method)

    @sentences
    def see_other(self, method: str | None, request: gr.Request, event: gr.SelectData) -> dict[str, Any]:
        """The same on the picture that was clicked among those the heads disagree on."""
        owned = self.session.own.trained(request.session_hash)
        return self._on(owned, owned.differing[int(event.index)], method)

    @sentences
    def example(self, request: gr.Request, event: gr.SelectData) -> str:
        """The path of the validation picture that was clicked in the Compare tab."""
        return self.session.own.trained(request.session_hash).examples[int(event.index)][0]

    def _on(self, owned: UserModel, picture: Picture, method: str | None) -> dict[str, Any]:
        shown = self.choose(owned.token, owned.owner, picture[0], method)
        return {"tabs": gr.Tabs(selected="compare"), "picked": picture[0], **shown}

    def choose(self, model: str, owner: str, photo: str | None, method: str | None) -> dict[str, Any]:
        """Shows a photograph's maps under a model, by its name or token, and both in the menus."""
        menu = {"model": self.menu(owner, value=model), "opened": model}
        if not photo:
            return menu
        canvas, classes, methods = self.analyse(photo, model, method)
        return {**menu, "canvas": canvas, "chosen": classes, "method": methods}

    @sentences
    def push(self, repository: str, token: str, request: gr.Request) -> tuple[gr.Textbox, str]:
        """Sends the model trained last to the Hub; the token is used once and emptied from its box."""
        owned = self.session.own.trained(request.session_hash)
        return gr.Textbox(f"It is at {push(owned.model, repository, token)}", visible=True), ""
