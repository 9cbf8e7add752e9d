"""TLS of Redis: who answers is verified by certificate and by name."""

from __future__ import annotations

from typing import Any


def tls_of(url: str) -> dict[str, Any]:
    """Options of redis-py for a URL: it leaves the name of the server out otherwise; the URL may say so itself."""
    return {"ssl_check_hostname": True} if url.startswith("rediss:") else {}
