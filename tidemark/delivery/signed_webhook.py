"""Signed webhook: the notification as it is, with a signature that a receiver can check with `verify`."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from typing import Any

from tidemark.delivery.document import Notification

SIGNATURE_HEADER = "Tidemark-Signature"
KEY_HEADER = "Idempotency-Key"
# A captured request cannot be sent again later than this; a retry is signed anew.
TOLERANCE_S = 300

_PART = re.compile(r"(?:(t)=([0-9]{1,12})|(v1)=([0-9a-f]{1,128}))")


class SignatureError(ValueError):
    """A request is not from who has the secret, or is too old."""


def document(notification: Notification) -> dict[str, Any]:
    """The body: id, status, severity, group_key, summary, digest, and the alerts as on the topic (CloudEvents)."""
    return {
        "id": notification.id,
        "status": notification.status,
        "severity": notification.severity,
        "group_key": notification.group_key,
        "summary": notification.summary,
        "digest": notification.digest,
        "alerts": list(notification.events),
    }


def signature(keys: Iterable[str], body: bytes, at_s: int) -> str:
    """Value of the signature header: `t=<unix seconds>`, and `,v1=<hex of HMAC-SHA256 over "t.body">` for each key."""
    return f"t={at_s}" + "".join(f",v1={_digest(key, body, at_s)}" for key in keys)


def verify(secret: str, header: str, body: bytes, *, now_s: int, tolerance_s: int = TOLERANCE_S) -> None:
    """Pass if the exact bytes of a body were signed with the secret at most `tolerance_s` ago.

    Parameters
    ----------
    secret, header, body:
        What both sides know, the signature header, the bytes as received: before anything parses them.
    now_s, tolerance_s:
        Clock of the receiver in unix seconds, and how far the clock of the sender may be from it.

    Raises
    ------
    SignatureError
        The header is malformed, no signature in it fits, or it is too old or too new.
    """
    parts = [_PART.fullmatch(part.strip()) for part in header.split(",")]
    given = [(part[1] or part[3], part[2] or part[4]) for part in parts if part]
    times = [value for name, value in given if name == "t"]
    if len(times) != 1:
        raise SignatureError(f"{SIGNATURE_HEADER} has {len(times)} times (t=) and must have one.")
    expected = _digest(secret, body, int(times[0]))
    # All are compared: a sender that changes its secret may sign with both.
    fits = [hmac.compare_digest(value, expected) for name, value in given if name == "v1"]
    if not any(fits):
        raise SignatureError(f"none of {len(fits)} signatures (v1=) is of this secret and body.")
    age_s = now_s - int(times[0])
    if abs(age_s) > tolerance_s:
        raise SignatureError(f"the signature is {age_s} s old; {tolerance_s} s are tolerated.")


def _digest(secret: str, body: bytes, at_s: int) -> str:
    return hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
