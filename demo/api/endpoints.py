"""Lays the endpoints out, on a page of their own, so that the page of visitors does not carry them."""

import gradio as gr

from bsoftmax.data.limits import Limits

from ..server.session import Session
from ..workspace.workspaces import Workspaces
from .explaining import Explaining
from .jobs import Jobs
from .parts import Tokens

PATH = "programs"
WORDS = (
    "# For programs\nEverything this site does is a call of `gradio_client` and a tool of MCP: [the calls](?view=api), "
    "or `docs/api.md` in the repository."
)
CALLS = 16  # of one quick endpoint at once; slow ones wait for their lane


class Api:
    """All endpoints around one session; without `limits`, those on data sets are left out."""

    def __init__(self, session: Session, workspaces: Workspaces | None, limits: Limits | None) -> None:
        self.session, self.tokens = session, Tokens()
        self.explaining = Explaining(session, self.tokens)
        self.jobs = Jobs(session, workspaces, limits, self.tokens) if workspaces and limits else None

    def build(self) -> None:
        """Adds every endpoint to the page that is being built."""
        gr.Markdown(WORDS)
        for name in Explaining.NAMES:
            gr.api(getattr(self.explaining, name), api_name=name, concurrency_limit=CALLS)
        gr.api(self.explaining.stop_slow, api_visibility="undocumented", queue=False)
        for name in Jobs.NAMES if self.jobs else ():
            one = {"concurrency_id": "train", "concurrency_limit": 1} if name in Jobs.LONG else {"concurrency_limit": 4}
            gr.api(getattr(self.jobs, name), api_name=name, **one)

    def leave(self, session: str) -> None:
        """Removes what a session's tokens name."""
        for token in self.tokens.leave(session):
            if self.jobs:
                self.jobs.leave(token)
            self.session.leave(token)
