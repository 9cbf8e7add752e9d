"""Shared by the tests of the model: a catalog, events, and usage as text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.streams import FUTURE_TOLERANCE_MS, GRACE_MS
from tidemark.dry_run.fold import Bucket, Grain
from tidemark.dry_run.model import Model
from tidemark.dry_run.usage_rows import usage_rows
from udfs.catalog.model import CalendarDef, CatalogSource, Customer, InMemoryCatalogSource, Tenant
from udfs.decode.decoder import DecodePolicy
from udfs.meters.meter import Meter

HOUR_MS = 3_600_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
POLICY = DecodePolicy("usage.events", GRACE_MS, FUTURE_TOLERANCE_MS)
AT = "2024-03-10T06:00:00Z"
CALENDARS = (
    CalendarDef("ny", None, "P1M", "America/New_York"),
    CalendarDef("ny-31st", "2024-01-31", "P1M", "America/New_York"),
    CalendarDef("tokyo", None, "P1M", "Asia/Tokyo"),
    CalendarDef("st-johns", None, "P1M", "America/St_Johns"),
    CalendarDef("quarters", None, None, "UTC", boundaries=("2024-01-01", "2024-02-01", "2024-03-01")),
)


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def event(event_id: str, at: str, amount: Any = ..., **fields: Any) -> bytes:
    """An event of type `use` of acme's alice; `amount` becomes its quantity."""
    result = {"event_id": event_id, "tenant_id": "acme", "customer_id": "alice", "event_type": "use", "timestamp": at}
    if amount is not ...:
        result["quantity"] = amount
    return json.dumps(result | fields).encode()


def void(voids: str, at: str, amount: Any = ..., **fields: Any) -> bytes:
    return event(f"void of {voids}", at, amount, voids=voids, **fields)


def catalog(*meters: Meter, calendar: str | None = None, customers: Sequence[Customer] = ()) -> InMemoryCatalogSource:
    return InMemoryCatalogSource(
        tenants=[Tenant("acme", calendar)], meters=meters, calendars=CALENDARS, customer_versions=customers
    )


def counted(source: CatalogSource, events: Iterable[bytes], batch: int = 1_000) -> Model:
    model, raws = Model(source, POLICY), list(events)
    for first in range(0, len(raws), batch):
        chosen = raws[first : first + batch]
        model.feed(chosen, None, [0] * len(chosen), range(first, first + len(chosen)))
    return model


def meter(aggregation: Any, **fields: Any) -> Meter:
    return Meter("used", ("use",), aggregation, **fields)


def values(model: Model, grain: Grain, customer: str = "alice", name: str = "used") -> dict[Bucket, str]:
    """Value by bucket of a meter without groups; minutes, hours and periods by their begin as text."""
    return {
        row.bucket if isinstance(row.bucket, str) else _text(row.bucket): f"{row.value.normalize():f}"
        for row in usage_rows(model, grain)
        if (row.series.customer, row.series.meter) == (customer, name)
    }


def _text(instant_ms: int) -> str:
    return f"{EPOCH + timedelta(milliseconds=instant_ms):%Y-%m-%dT%H:%MZ}"


def text_of(instant_ms: int) -> str:
    """RFC 3339 with milliseconds."""
    return f"{(EPOCH + timedelta(milliseconds=instant_ms)).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def cloud(event_id: str, source: str, quantity: int, **more: Any) -> bytes:
    result = {"specversion": "1.0", "id": event_id, "source": source, "subject": "alice", "type": "use"}
    return json.dumps(result | {"tenantid": "acme", "time": AT, "data": {"quantity": quantity}} | more).encode()
