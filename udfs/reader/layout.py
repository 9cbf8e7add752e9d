"""Where the pipeline keeps in Redis what a check reads, and the commands that read it in one round trip."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote

# Not `used`: a writer that knows the total before the limits leaves it behind.
COUNTER_FIELDS = (
    "period_start", "period_end", "total", "limit", "mode", "on_unknown", "rule", "projected_exhaustion_at",
    "revision",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Keys:
    """What one check reads.

    Parameters
    ----------
    counter:
        Hash of one customer and meter; its braces keep what concerns a customer on one node.
    suspension:
        Hash that denies every meter of a customer.
    defaults, field:
        Hash of a tenant's limits, and the meter in it, as it is.
    marker:
        There once all counters were written.
    heartbeat:
        Epoch ms at which the pipeline was last seen to move.
    """

    counter: str
    suspension: str
    defaults: str
    field: str
    marker: str
    heartbeat: str


@lru_cache(maxsize=65_536)
def keys_of(prefix: str, tenant: str, customer: str, meter: str) -> Keys:
    """Keys of a customer and meter; percent-encoded ids hold none of `{}/:`, so that no two of them meet."""
    encoded = quote(tenant, safe="")
    whose = f"{prefix}{{{encoded}/{quote(customer, safe='')}}}:"
    return Keys(
        f"{whose}{quote(meter, safe='')}", f"{whose}:suspended", f"{prefix}{{{encoded}}}::limits", meter,
        f"{prefix}marker", f"{prefix}heartbeat",
    )  # fmt: skip


def queue(pipeline: Any, keys: Keys) -> None:
    """Put the four questions of a check into a pipeline; `stored.parse` takes their replies in this order."""
    # All of it: there is seldom any, and each field asked for costs the client a microsecond or two. First, because a
    # short question to a Redis that wants a password is told so; a long one is cut off.
    pipeline.execute_command("HGETALL", keys.suspension)
    pipeline.execute_command("HMGET", keys.counter, *COUNTER_FIELDS)
    pipeline.execute_command("HGET", keys.defaults, keys.field)
    pipeline.execute_command("MGET", keys.marker, keys.heartbeat)
