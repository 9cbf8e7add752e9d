"""Names of the keys in Redis: the one place that both who writes them and who reads them take them from.

`prefix` is that of a run (`usage:`). Ids are percent-encoded, so that they hold none of `{}/:` and no two keys meet;
the braces keep what concerns a customer, or a tenant, on one node of a cluster.
"""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote


def encoded(part: str) -> str:
    """An id as it stands in a key."""
    return quote(part, safe="")


@lru_cache(maxsize=65_536)
def counter_key(prefix: str, tenant: str, customer: str, meter: str) -> str:
    """Key of the hash with the running total of a customer and meter; `usage:{acme/alice}:calls`."""
    return f"{prefix}{{{encoded(tenant)}/{encoded(customer)}}}:{encoded(meter)}"


def suspension_key(prefix: str, tenant: str, customer: str) -> str:
    """Key of the hash that denies every meter of a customer; no meter is named `:suspended`, ids are encoded."""
    return f"{prefix}{{{encoded(tenant)}/{encoded(customer)}}}::suspended"


def reservations_key(prefix: str, tenant: str, customer: str, meter: str) -> str:
    """Key of the stream of amounts that services have set aside; no meter is named `:reserved:…`, ids are encoded."""
    return f"{prefix}{{{encoded(tenant)}/{encoded(customer)}}}::reserved:{encoded(meter)}"


def answer_key(prefix: str, tenant: str, customer: str, digest: str) -> str:
    """Key of an answer of the API that belongs to a version of a counter; no meter is named `:answer:…`."""
    return f"{prefix}{{{encoded(tenant)}/{encoded(customer)}}}::answer:{digest}"


def limits_key(prefix: str, tenant: str) -> str:
    """Key of the limits that hold for customers of a tenant without a counter: a field for each meter, as it is."""
    return f"{prefix}{{{encoded(tenant)}}}::limits"


def leaderboard_keys(prefix: str, tenant: str, meter: str) -> tuple[str, str]:
    """Keys of the sorted set of the customers with the most usage, and of the hash that describes its window."""
    board = f"{prefix}{{{encoded(tenant)}}}::top:{encoded(meter)}"
    return board, f"{board}:window"


def marker_key(prefix: str) -> str:
    """Key that is there once all counters were written."""
    return f"{prefix}marker"


def rebuilding_key(prefix: str) -> str:
    """Key that is there while all counters are being written: the process of Redis they are written to."""
    return f"{prefix}rebuilding"


def leaderboard_marker_key(prefix: str) -> str:
    """Key that is there once all leaderboards were written."""
    return f"{prefix}top-marker"


def heartbeat_key(prefix: str) -> str:
    """Key of the newest proof that events come from Kafka to Redis, epoch ms."""
    return f"{prefix}heartbeat"


def switch_key(prefix: str) -> str:
    """Key of the switch of a run: JSON, tenant to prefix, see `tenant_name`; absent where its own keys are read."""
    return f"{prefix}switch"
