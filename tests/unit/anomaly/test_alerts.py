"""Alerts of anomalies: of the contract, the same when made again, and with a runbook that is there."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import get_args

import jsonschema
import pytest

from schemas import topic_schema
from tidemark.core.errors import UsageError
from tidemark.core.settings import load
from udfs.alerts.event import parse
from udfs.anomaly.alerts import alert_of, row_of, text_of
from udfs.anomaly.series import Change, Kind, Series, Status, rounded
from udfs.anomaly.tuning import HOUR_MS
from udfs.anomaly.zones import zones_of

SINCE_MS = 1_700_000_000_000
RUNBOOK = Path(__file__).parents[3] / "docs" / "anomalies.md"


def change(kind: Kind, status: Status = "firing", at_ms: int = SINCE_MS + HOUR_MS) -> Change:
    figures = (Decimal("18.5"), Decimal("54.000000000"), Decimal("38.2"), Decimal("6.1"))
    return Change(kind, status, SINCE_MS, at_ms, *figures, HOUR_MS)


def series(kind: Kind) -> Series:
    if kind == "error_rate":
        return Series("tenant", "acme")
    return (
        Series("customer", "acme", "c-1", "calls") if kind == "customer_spike" else Series("meter", "acme", "", "calls")
    )


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("status", get_args(Status))
def test_every_kind_is_an_alert_of_the_contract(kind: Kind, status: Status) -> None:
    text = row_of(series(kind), change(kind, status)).alert
    jsonschema.validate(json.loads(text), topic_schema("usage.alerts"))
    assert parse(text) == alert_of(series(kind), change(kind, status))


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_runbook_is_a_heading_of_the_page(kind: Kind) -> None:
    page, _, anchor = alert_of(series(kind), change(kind)).runbook.partition("#")
    assert page == "docs/anomalies.md"
    headings = re.findall(r"^#+ (.+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


def test_begin_and_end_share_a_fingerprint_and_each_has_an_id_of_its_own() -> None:
    begun, ended = (alert_of(series("spike"), change("spike", status)) for status in ("firing", "resolved"))
    assert begun.fingerprint == ended.fingerprint
    assert begun.id != ended.id
    later = alert_of(series("spike"), change("spike", at_ms=SINCE_MS + 2 * HOUR_MS))
    assert later.id == begun.id  # made again with other figures it is still the same alert
    assert alert_of(series("spike"), change("drop")).fingerprint != begun.fingerprint


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("status", get_args(Status))
def test_a_later_episode_is_another_alert_of_the_same_condition(kind: Kind, status: Status) -> None:
    first = change(kind, status)
    later = first._replace(since_ms=first.since_ms + 1, at_ms=first.at_ms + 1)
    one, other = alert_of(series(kind), first), alert_of(series(kind), later)
    assert one.fingerprint == other.fingerprint
    assert one.id != other.id


def test_figures_travel_as_plain_decimals() -> None:
    assert [text_of(Decimal(text)) for text in ("54.000000000", "1E+3", "0E-9", "100", "0.50")] == [
        "54", "1000", "0", "100", "0.5",
    ]  # fmt: skip
    assert [text_of(rounded(value)) for value in (0.0, 1234.5678, -0.0001, 2e9)] == ["0", "1234.568", "0", "2000000000"]


def test_zones_are_one_for_all_and_others_by_name() -> None:
    zones = zones_of("Etc/UTC;JFK=America/New_York; a=b=Asia/Tokyo")
    assert [zones.of(tenant) for tenant in ("x", "JFK", "a=b")] == ["Etc/UTC", "America/New_York", "Asia/Tokyo"]


@pytest.mark.parametrize("text", ["", "Mars/Olympus", "Etc/UTC;JFK", "Etc/UTC;=Etc/UTC"])
def test_an_invalid_zone_is_refused_by_the_settings(text: str) -> None:
    with pytest.raises(UsageError, match=r"anomaly\.zones"):
        load(**{"anomaly.zones": text})
