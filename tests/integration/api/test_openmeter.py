"""OpenMeter's own client for Python, unchanged, against a real process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from corehttp.exceptions import HttpResponseError
from openmeter import Client
from openmeter.models import Event, FilterString, MeterQueryRequest

from tests.integration.api.conftest import Door
from tests.integration.api.test_reads import MARCH, used

__all__ = ["used"]
APRIL = datetime(2024, 4, 1, tzinfo=UTC)


@pytest.fixture
def client(used: Door) -> Iterator[Client]:
    with Client(endpoint=used.url, token=used.key("admin")) as made:
        yield made


def event(name: str, **changes: object) -> Event:
    fields = {"specversion": "1.0", "source": "shop", "type": "call", "subject": "alice", "data": {"quantity": "2"}}
    return Event(id=name, time=datetime.now(UTC), **{**fields, **changes})


def test_its_events_are_ours(client: Client, used: Door) -> None:
    client.events.ingest_event(event("om-1"))
    client.events.ingest_events([event("om-2"), event("om-3", subject="bob")])
    client.events.ingest_events_json(event("om-4"))
    records = {value["id"]: one for one in used.records() if "id" in (value := json.loads(one.value or b""))}
    assert {"om-1", "om-2", "om-3", "om-4"} <= set(records)
    assert records["om-3"].key == f"{used.tenant}/bob".encode()
    with pytest.raises(HttpResponseError) as refused:
        client.events.ingest_events([event("om-5"), event("om-6", subject="")])
    assert refused.value.status_code == 400
    assert "om-5" in {json.loads(one.value or b"").get("id") for one in used.records()}


def test_its_queries_are_answered(client: Client) -> None:
    (whole,) = client.meters.query_json("calls", from_parameter=MARCH, to=APRIL, subject=["alice"]).data
    assert (whole.value, whole.window_start, whole.window_end, whole.subject) == (36, MARCH, APRIL, "alice")
    days = client.meters.query_json(
        "calls", window_size="DAY", window_time_zone="Etc/UTC", from_parameter=MARCH, to=APRIL, group_by=["subject"]
    ).data
    assert [(row.window_start.day, row.subject, row.value) for row in days] == [
        (1, "alice", 23), (1, "bob", 23), (2, "alice", 13), (2, "bob", 13),
    ]  # fmt: skip
    asked = MeterQueryRequest(window_size="MONTH", window_time_zone="Europe/Berlin", group_by=["region"],
                              filter_group_by={"region": ["us"]})  # fmt: skip
    (month,) = client.meters.query("calls", asked).data
    assert (month.value, month.group_by) == (40, {"region": "us"})
    assert month.window_start == datetime(2024, 2, 29, 23, tzinfo=UTC)
    # Summer time has begun in Berlin.
    assert month.window_end == datetime(2024, 3, 31, 22, tzinfo=UTC)
    with pytest.raises(HttpResponseError) as refused:
        client.meters.query_json("nothing")
    assert refused.value.status_code == 404


def test_its_filters_are_ours(client: Client) -> None:
    """Hours by region: 5 + 11 in eu, 7 + 13 in us, of each of two customers."""
    period = {"from_parameter": MARCH, "to": APRIL}

    def values(**asked: Any) -> list[float]:
        return [row.value for row in client.meters.query_json("calls", **period, **asked).data]

    assert values(filter_group_by={"region": "us"}) == [40]
    assert values(filter_customer_id=["bob"], group_by=["region"]) == [16, 20]
    assert values(subject=["alice"], filter_customer_id=["bob"]) == []
    # Their models are for bodies alone: in a query string their client takes plain dictionaries.
    assert values(advanced_meter_group_by_filters={"region": {"$ne": "us"}}) == [32]
    assert values(advanced_meter_group_by_filters={"subject": {"$like": "b%"}}) == [36]
    either = FilterString(or_property=[FilterString(in_property=["us"]), FilterString(ilike="E_")])
    asked = MeterQueryRequest(
        from_property=MARCH, to=APRIL, group_by=["subject"],
        advanced_meter_group_by_filters={"region": either, "subject": FilterString(gt="alice")},
    )  # fmt: skip
    (row,) = client.meters.query("calls", asked).data
    assert (row.value, row.subject, row.customer_id) == (36, "bob", "bob")
    for name in ("filterGroupby", "advancedMeterGroupByFilters[region]"):
        with pytest.raises(HttpResponseError) as refused:
            client.meters.query_json("calls", params={name: "us"})
        assert refused.value.status_code == 422
    with pytest.raises(HttpResponseError) as refused:
        values(advanced_meter_group_by_filters={"colour": {"$eq": "red"}})
    assert refused.value.status_code == 422
    with pytest.raises(HttpResponseError) as refused:
        client.meters.query_json("nothing")
    assert refused.value.status_code == 404
