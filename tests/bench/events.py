"""Events of the benchmarks: 270 bytes each, keyed by customer, from a seed; no imports but the standard library's."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

TENANT = "bench"
CUSTOMERS, SKEW = 10_000, 1.1
DUPLICATE, LATE, INVALID = 0.05, 0.02, 0.01
GRACE_MS = 48 * 3_600_000
# Event types and their shares. The pipelines have a meter of each type's sum.
TYPES = {"api_call": 40, "storage": 25, "completion": 20, "build": 10, "request": 5}
# Most events of one file: the harness makes no data without bound.
MOST = 20_000_000


@dataclass(frozen=True, slots=True)
class Load:
    """A backlog.

    Parameters
    ----------
    count:
        Events, copies and bad ones included.
    customers, skew:
        How many, and the exponent of Zipf's law; 0: all alike.
    hot:
        Share of the events that one customer has beside the others.
    seed:
        The same seed, the same events.
    clean:
        Without duplicates, late and invalid events.
    span_s:
        Event time from the first to the last of them, seconds.
    """

    count: int
    customers: int = CUSTOMERS
    skew: float = SKEW
    hot: float = 0.0
    seed: int = 7
    clean: bool = False
    span_s: int = 3_600

    def __post_init__(self) -> None:
        if not 0 < self.count <= MOST:
            raise ValueError(f"{self.count} events; 1 to {MOST} can be made.")


def customers(load: Load, chance: random.Random) -> list[int]:
    """The customer of each event."""
    weights = [1 / rank**load.skew for rank in range(1, load.customers + 1)]
    weights[0] += load.hot / (1 - load.hot) * sum(weights)
    return chance.choices(range(load.customers), cum_weights=list(accumulate(weights)), k=load.count)


def keyed(load: Load, end_ms: int, types: Mapping[str, int] = TYPES) -> Iterator[tuple[int, bytes]]:
    """Customer and payload of each event, of the span before `end_ms`, in order but for seconds."""
    chance = random.Random(load.seed)
    whose = customers(load, chance)
    kinds = chance.choices(list(types), weights=list(types.values()), k=load.count)
    previous, span_ms = (0, b""), load.span_s * 1_000
    for index, (customer, event_type) in enumerate(zip(whose, kinds, strict=True)):
        kind = 0.5 if load.clean else chance.random()
        if kind >= DUPLICATE or not previous[1]:
            late_ms = GRACE_MS if DUPLICATE <= kind < DUPLICATE + LATE else 0
            at_ms = end_ms - span_ms + span_ms * index // load.count - chance.randrange(5_000) - late_ms
            payload = event(index, customer, event_type, at_ms)
            previous = customer, payload[:-2] if kind >= 1 - INVALID else payload
        yield previous


def event(index: int, customer: int, event_type: str, at_ms: int, quantity: str = "") -> bytes:
    """One native event."""
    seconds, ms = divmod(at_ms, 1_000)
    at = f"{second(seconds)}.{ms:03d}Z"
    return (
        f'{{"event_id":"0b9e5c{index:012d}","tenant_id":"{TENANT}","customer_id":"customer-{customer:06d}",'
        f'"event_type":"{event_type}","timestamp":"{at}","quantity":{quantity or f"{index % 97 + 1}.25"},'
        f'"properties":{{"region":"eu-west-{index % 3}","model":"large-{index % 4}","status":"200"}},'
        f'"user_id":"user-{index % 5_000:05d}","schema_version":2}}'
    ).encode()


@lru_cache(16_384)
def second(epoch_s: int) -> str:
    """A second of UTC, without its zone."""
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def write(load: Load, end_ms: int, file: Path) -> None:
    """A line per event: customer, tab, payload."""
    with file.open("wb") as lines:
        for customer, payload in keyed(load, end_ms):
            lines.write(b"%d\t%b\n" % (customer, payload))
