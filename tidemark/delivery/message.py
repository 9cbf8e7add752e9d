"""The request to a receiver: address, headers and body, by the kind of the receiver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args
from urllib.parse import urlsplit

from tidemark.delivery import alertmanager, pagerduty, signed_webhook, slack
from tidemark.delivery.document import Notification, encoded

Kind = Literal["pagerduty", "alertmanager", "slack", "webhook"]
# Kinds that cannot be used without their secret.
NEEDS_SECRET: tuple[Kind, ...] = ("pagerduty", "webhook")


class ReceiverError(ValueError):
    """A receiver cannot be reached as it is set up; the text says what to change."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who is notified, as the alert policy has it.

    Parameters
    ----------
    name, kind:
        Name in the policy, and its protocol.
    url:
        Where it listens.
    secret_file:
        Name of the file with its secret, below `delivery.secrets_dir`; empty for none.
    """

    name: str
    kind: Kind
    url: str
    secret_file: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """A POST to be made; not shown in full, because it may carry a secret."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def host(self) -> str:
        """Where it goes, without the parts of an address that may be secret."""
        return origin(self.url)


def receiver_of(name: str, body: Mapping[str, Any]) -> Receiver:
    """A receiver of its entry in the alert policy.

    Raises
    ------
    ReceiverError
        Its kind is unknown, or it has no url.
    """
    kind, url = body.get("kind"), body.get("url")
    if kind not in get_args(Kind) or not url:
        raise ReceiverError(
            f"receiver {name} has kind {kind!r} and needs one of {', '.join(get_args(Kind))}, and a url."
        )
    return Receiver(name, cast("Kind", kind), str(url), str(body.get("secret_file") or ""))


def message_of(receiver: Receiver, notification: Notification, keys: tuple[str, ...], at_s: int) -> Message:
    """The request to `receiver`; a webhook is signed with each key, at `at_s` in unix seconds."""
    secret = keys[0] if keys else ""
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "tidemark",
        signed_webhook.KEY_HEADER: notification.id,
    }
    if receiver.kind == "pagerduty":
        return Message(receiver.url, headers, encoded(pagerduty.event(notification, secret)))
    if receiver.kind == "alertmanager":
        bearer = {"Authorization": f"Bearer {secret}"} if secret else {}
        return Message(_alertmanager_url(receiver.url), headers | bearer, encoded(alertmanager.alerts(notification)))
    if receiver.kind == "slack":
        # The address of an incoming webhook is its secret.
        return Message(secret or receiver.url, headers, encoded(slack.message(notification)))
    body = encoded(signed_webhook.document(notification))
    return Message(
        receiver.url, headers | {signed_webhook.SIGNATURE_HEADER: signed_webhook.signature(keys, body, at_s)}, body
    )


def origin(url: str) -> str:
    """Scheme, host and port of an address; paths, queries and users may be secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _alertmanager_url(url: str) -> str:
    base = url.rstrip("/")
    return base if base.endswith(alertmanager.PATH) else base + alertmanager.PATH
