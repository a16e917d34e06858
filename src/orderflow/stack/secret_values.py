"""
The secrets that payment and the simulated provider share: an API key, and what webhooks are signed
with.

They are made once for each state directory and stand in a file that its owner alone may read. The
two processes get them by environment; no argument, log, `status` or `env` shows them.
"""

from __future__ import annotations

import base64
import os
import secrets
import tempfile
from pathlib import Path

import msgspec

from orderflow.messaging.errors import ConfigurationError
from orderflow.stack.addresses import api_url
from orderflow.stack.settings import StackSettings

FILE = "secrets.json"
SECRET_BYTES = 32
PARTNERS = frozenset({"payment", "psp"})


class Secrets(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`webhook`: `whsec_` and base64. A value of these is never printed."""

    provider_api_key: str
    webhook: str

    def __repr__(self) -> str:
        return "Secrets(…)"


def provider_environment(settings: StackSettings) -> dict[str, str]:
    """
    What payment and its provider are started with, so that each believes the other.

    Empty unless this stack runs both. Raises ConfigurationError if the file can't be read.
    """
    if not PARTNERS.issubset(settings.services):
        return {}

    kept = load(settings)
    return {
        "ORDERFLOW_PSP__API_KEY": kept.provider_api_key,
        "ORDERFLOW_PSP__WEBHOOK_URL": f"{api_url(settings, 'payment')}/webhooks/provider",
        "ORDERFLOW_PSP__WEBHOOK_SECRET": kept.webhook,
        "ORDERFLOW_PAYMENT__PSP__API_KEY": kept.provider_api_key,
        "ORDERFLOW_PAYMENT__PSP__WEBHOOK_SECRETS": kept.webhook,
    }


def load(settings: StackSettings) -> Secrets:
    """The secrets of this state directory; made, if there are none yet."""
    path = settings.home / FILE
    if not path.exists():
        _make(path)

    try:
        return msgspec.json.decode(path.read_bytes(), type=Secrets)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigurationError(
            f"{path} can't be read: {error}; without that file, new secrets are made"
        ) from error


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = Secrets(
        provider_api_key=f"sk_{secrets.token_urlsafe(SECRET_BYTES)}",
        webhook=f"whsec_{base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}",
    )

    # mkstemp: mode 600 from the first byte on.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{FILE}.")
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(made))
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link, not a rename: of two starts at once the first one's secrets stay.
        os.link(name, path)
    except FileExistsError:
        pass
    finally:
        Path(name).unlink()
