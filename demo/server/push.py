"""Uploads a trained model to the Hugging Face Hub."""

from __future__ import annotations

import re
import socket
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants

from bsoftmax import DualBranch

NAME = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)


def push(model: DualBranch, repository: str, token: str) -> str:
    """Makes the repository where there is none, uploads the model, and returns its address.

    Raises ValueError with a sentence, in which the token never appears.
    """
    repository, token = (repository or "").strip(), (token or "").strip()
    if not NAME.fullmatch(repository):
        raise ValueError("A repository is named owner/name, in letters, digits, '-', '_' and '.'.")
    if not token:
        raise ValueError("The Hub wants a token that may write: make one under huggingface.co/settings/tokens.")
    try:
        _reach()
        model.push_to_hub(repository, token=token)
    except Exception as error:  # offline, refused, no such owner: the Hub's client raises many kinds
        status = getattr(getattr(error, "response", None), "status_code", None)
        why = f"it answered {status}" if status else "it could not be reached"
        raise ValueError(
            f"The Hub did not take the model ({why}): check the name, and that the token may write there; "
            "the checkpoint can be downloaded all the same."
        ) from None  # the error may quote the request, and so the token
    return f"{constants.ENDPOINT}/{repository}"


def _reach() -> None:
    """Raises OSError at once when offline, where the Hub's client would retry for half a minute."""
    if not getproxies():
        address = urlsplit(constants.ENDPOINT)
        socket.create_connection((address.hostname, address.port or 443), timeout=5).close()
