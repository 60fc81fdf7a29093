"""Event handlers of user models: a checkpoint opened, a trained model shown in Compare or sent to the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from bsoftmax.utils.language import gettext as _

from ..components.files import used
from ..components.inputs import Menu, error_notices, visitor
from ..server.push import push
from ..server.schemas import index_of
from ..server.user_models import Picture, UserModel, load_checkpoint
from .handlers import Handlers

LABEL = 60  # letters of a model's name in the menu


class UserModelHandlers(Handlers):
    """Handlers answer {name of a widget: value}, see `named_outputs`."""

    def menu(self, owner: str, **more: Any) -> Menu:
        """The model menu of one session."""
        users = [(user_model.label, user_model.token) for user_model in self.session.user_models.of(owner)]
        return Menu(choices=[*((name, name) for name in self.session.model_names()), *users], **more)

    def add(
        self, owner: str, label: str, path: str | Path, examples: Sequence[Picture] = (),
        differing: Sequence[Picture] = (),
    ) -> UserModel:  # fmt: skip
        """Opens a checkpoint for one session, under a name that its menu does not have yet."""
        label = label[:LABEL].strip() or "model"
        taken = {model.label for model in self.session.user_models.of(owner)} | set(self.session.model_names())
        names = [label, *(f"{label} ({n})" for n in range(2, len(taken) + 3))]
        free = next(name for name in names if name not in taken)
        return self.session.user_models.add(owner, free, load_checkpoint(path), examples, differing)

    @error_notices
    def open_checkpoint(self, path: str, photo: str | None, method: str | None, request: gr.Request) -> dict[str, Any]:
        """Opens a .safetensors checkpoint for this session alone and shows its maps of the current photograph."""
        user_model = self.add(visitor(request), Path(path).stem, used(path))
        return self.choose(user_model.token, user_model.owner, photo, method)

    @error_notices
    def show_trained(self, method: str | None, request: gr.Request) -> dict[str, Any]:
        """Shows the model trained last in Compare, on one of its validation pictures."""
        user_model = self.session.user_models.last_trained(visitor(request))
        return self.open_in_compare(user_model.token, user_model.owner, user_model.examples[0][0], method)

    @error_notices
    def show_differing(self, method: str | None, request: gr.Request, event: gr.SelectData) -> dict[str, Any]:
        """The same on the picture that was clicked among those the heads disagree on."""
        user_model = self.session.user_models.last_trained(visitor(request))
        picture = user_model.differing[index_of(event.index, user_model.differing)][0]
        return self.open_in_compare(user_model.token, user_model.owner, picture, method)

    @error_notices
    def example(self, request: gr.Request, event: gr.SelectData) -> str:
        """The path of the validation picture that was clicked in Compare."""
        examples = self.session.user_models.last_trained(visitor(request)).examples
        return examples[index_of(event.index, examples)][0]

    def open_in_compare(self, model: str, owner: str, photo: str, method: str | None) -> dict[str, Any]:
        """Switches to Compare with a photograph under a model; `picked` then sets the photograph's own widget."""
        return {"tabs": gr.Tabs(selected="compare"), "picked": photo, **self.choose(model, owner, photo, method)}

    def choose(self, model: str, owner: str, photo: str | None, method: str | None) -> dict[str, Any]:
        """Shows a photograph's maps under a model, by its name or token, and both in the menus."""
        menu = {"model": self.menu(owner, value=model), "opened": model}
        if not photo:
            return menu
        canvas, classes, methods = self.change_model(photo, model, method)
        return {**menu, "canvas": canvas, "chosen": classes, "method": methods}

    @error_notices
    def push(self, repository: str, token: str, request: gr.Request) -> tuple[gr.Textbox, str]:
        """Sends the model trained last to the Hub; the token is used once and cleared from its box."""
        user_model = self.session.user_models.last_trained(visitor(request))
        words = _("It is at {address}").format(address=push(user_model.model, repository, token))
        return gr.Textbox(words, visible=True), ""
