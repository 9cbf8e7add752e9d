"""Where the pipeline keeps in Redis what a check reads, and the commands that read it in one round trip."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tidemark_client.keys import counter_key, heartbeat_key, limits_key, marker_key, suspension_key, switch_key

# Not `used`: a writer that knows the total before the limits leaves it behind.
COUNTER_FIELDS = (
    "period_start", "period_end", "total", "limit", "mode", "on_unknown", "rule", "projected_exhaustion_at",
    "revision",
)  # fmt: skip


@dataclass(frozen=True)
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
    switch:
        Says which version of all this but the suspension people read.
    """

    counter: str
    suspension: str
    defaults: str
    field: str
    marker: str
    heartbeat: str
    switch: str


@lru_cache(maxsize=65_536)
def keys_of(prefix: str, tenant: str, customer: str, meter: str, version: str | None = None) -> Keys:
    """Keys of a customer and meter.

    `version` is the prefix of what the pipeline counts, where another run than that of `prefix` does. A suspension is a
    decision about the customer, whoever counts.
    """
    counted = version or prefix
    return Keys(
        counter=counter_key(counted, tenant, customer, meter),
        suspension=suspension_key(prefix, tenant, customer),
        defaults=limits_key(counted, tenant),
        field=meter,
        marker=marker_key(counted),
        heartbeat=heartbeat_key(counted),
        switch=switch_key(prefix),
    )


def queue(pipeline: Any, keys: Keys) -> None:
    """Put the four questions of a check into a pipeline; `stored.parse` takes their replies in this order."""
    # All of it: there is seldom any, and each field asked for costs the client a microsecond or two. First, because a
    # short question to a Redis that wants a password is answered so; a long one is cut off.
    pipeline.execute_command("HGETALL", keys.suspension)
    pipeline.execute_command("HMGET", keys.counter, *COUNTER_FIELDS)
    pipeline.execute_command("HGET", keys.defaults, keys.field)
    # The switch last: if it still names the version that was asked, people read it when the rest was read.
    pipeline.execute_command("MGET", keys.marker, keys.heartbeat, keys.switch)
