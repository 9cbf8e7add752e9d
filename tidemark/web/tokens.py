"""Signed claims of sessions and of embedded pages: who may see what until when. Pure.

A text is `PURPOSE.CLAIMS.SIGNATURE`: claims are JSON in base64, the signature is HMAC-SHA-256 over what is before it.
The purpose is part of what is signed, so that a token for an iframe is no session.
"""

from __future__ import annotations

import base64
import hmac
from hashlib import sha256
from typing import Literal

import msgspec

Purpose = Literal["session", "embed", "redrive"]


class Claims(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is signed.

    Parameters
    ----------
    key_id:
        Key of the API that was shown for it; what it may do ends with that key.
    tenant:
        Tenant of the key.
    expires_s:
        From when on it is refused, Unix seconds.
    customer:
        The one customer whose usage may be seen; empty: all of the tenant.
    zone:
        Time zone of the viewer; empty where it is not known.
    about:
        What alone it is good for; empty: everything of its purpose.
    """

    key_id: str
    tenant: str
    expires_s: int
    customer: str = ""
    zone: str = ""
    about: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Claims).decode


def sign(secret: bytes, purpose: Purpose, claims: Claims) -> str:
    """Claims as a text that only who has the secret can make; for a URL or a cookie."""
    head = f"{purpose}.{_text(_encode(claims))}"
    return f"{head}.{_text(_mac(secret, head))}"


def verified(secret: bytes, purpose: Purpose, text: str, now_s: float) -> Claims | None:
    """The claims of a text; None where it was not signed with this secret for this purpose, or has expired."""
    head, _, signature = text.rpartition(".")
    named, _, claims = head.partition(".")
    if named != purpose or not hmac.compare_digest(_text(_mac(secret, head)).encode(), signature.encode()):
        return None
    found = _decode(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    return found if now_s < found.expires_s else None


def _mac(secret: bytes, head: str) -> bytes:
    return hmac.digest(secret, head.encode(), sha256)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
