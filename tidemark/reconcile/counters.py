"""Live counters as Redis has them, a row each: what reconciliation compares with the stored totals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

from tidemark.core import redis
from tidemark.core.settings import Settings

# Fields of a counter's hash, and how each is read.
FIELDS: dict[str, type] = {
    "period_start": int, "period_end": int, "n": int, "samples": int,
    "total": Decimal, "lo": Decimal, "hi": Decimal, "latest": str,
}  # fmt: skip
_TIMEOUT_S = 10.0
_SCANNED = 1_000


def live_rows(settings: Settings) -> Iterator[tuple[Any, ...]]:
    """Tenant, customer, meter and the values of FIELDS, instants in epoch ms; a field that is absent or empty is None.

    Raises
    ------
    UnavailableError
        Redis cannot be used.
    """
    prefix = settings.names.redis_prefix
    with redis.translated(settings.redis), closing(redis.client(settings.redis, timeout_s=_TIMEOUT_S)) as connected:
        for key in connected.scan_iter(match=f"{prefix}{{*}}:*", count=_SCANNED):
            # A double colon: what concerns a customer beside its counters (suspensions, default limits, leaderboards).
            if "}::" in key:
                continue
            # Typed for both the blocking and the asyncio client; this one blocks.
            texts: Any = connected.hmget(key, list(FIELDS))
            row = values(texts)
            # A counter that only shows a limit holds no usage.
            if row[list(FIELDS).index("n")]:
                yield *ids(prefix, key), *row


def values(texts: Sequence[str | None]) -> tuple[Any, ...]:
    """Texts of FIELDS as values."""
    return tuple(kind(text) if text else None for kind, text in zip(FIELDS.values(), texts, strict=True))


def ids(prefix: str, key: str) -> tuple[str, str, str]:
    """Tenant, customer and meter of the key of a counter; the reverse of `tidemark_client.keys.counter_key`."""
    pair, _, meter = key.removeprefix(f"{prefix}{{").partition("}:")
    tenant, _, customer = pair.partition("/")
    return unquote(tenant), unquote(customer), unquote(meter)
