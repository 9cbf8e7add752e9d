"""Events for the benchmarks: about 240 bytes each, many customers, from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile

import yaml

from tidemark.catalog import tool as catalog_tool
from tidemark.core.settings import Settings

TENANT = "bench"
METER = "api_calls"


def apply_catalog(settings: Settings) -> None:
    """One tenant, one meter; every customer is on the tenant's default calendar."""
    meter = {"event_types": ["api_call"], "aggregation": "sum", "unit": "call"}
    with NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump({"tenants": {TENANT: {"meters": {METER: meter}}}}, file)
        file.flush()
        catalog_tool.apply(settings, Path(file.name))


def event(index: int, customer: int, at_ms: int, quantity: str = "") -> bytes:
    """One native event of about 240 bytes."""
    quantity = quantity or f"{index % 97 + 1}.25"
    at = datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return (
        f'{{"event_id":"evt-{index:012d}","tenant_id":"{TENANT}","customer_id":"customer-{customer:06d}",'
        f'"event_type":"api_call","timestamp":"{at}","quantity":{quantity},'
        f'"properties":{{"region":"eu-west-1","endpoint":"/v1/things","status":"200"}},"schema_version":1}}'
    ).encode()


def backlog(count: int, customers: int, now_ms: int, seed: int = 7, duplicates: float = 0.02) -> Iterator[bytes]:
    """`count` events of the hour before `now_ms`, in order but for seconds; a share of them are sent twice."""
    chance = random.Random(seed)
    previous = b""
    for index in range(count):
        if previous and chance.random() < duplicates:
            yield previous
            continue
        at_ms = now_ms - 3_600_000 + 3_600_000 * index // count - chance.randrange(5_000)
        previous = event(index, chance.randrange(customers), at_ms)
        yield previous
