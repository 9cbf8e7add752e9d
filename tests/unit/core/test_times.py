"""Timestamps of records: producers may set any 64 bits, and nothing may stop because of them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.archive.archiver import arrived
from tidemark.billing.events import Event
from tidemark.billing.explained import event_document
from tidemark.core.times import arrival_of, arrival_text

ANY_MS = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-1, 0, 2**63 - 1, -(2**63), 253_402_300_800_000])


@given(ANY_MS)
def test_every_timestamp_has_an_arrival(timestamp_ms: int) -> None:
    assert datetime(1970, 1, 1, tzinfo=UTC) <= arrival_of(timestamp_ms) <= datetime(2101, 1, 1, tzinfo=UTC)
    assert arrival_text(timestamp_ms)


@given(ANY_MS)
def test_no_record_of_the_archive_arrived_after_now(timestamp_ms: int) -> None:
    # Retention removes a file when its last arrival is old enough.
    assert arrived(timestamp_ms) <= datetime.now(UTC)


def test_an_arrival_that_a_date_can_say_is_exact() -> None:
    assert arrival_of(1_709_164_799_001) == datetime(2024, 2, 28, 23, 59, 59, 1_000, tzinfo=UTC)
    assert arrival_text(1_709_164_799_001) == "2024-02-28T23:59:59.001Z"


@pytest.mark.parametrize("timestamp_ms", [2**63 - 1, -(2**63)])
def test_an_explanation_names_an_arrival_that_no_date_can_say(timestamp_ms: int) -> None:
    event = Event("usage.events", 0, 7, "", "", 1, Decimal(1), arrival_ms=timestamp_ms)
    assert event_document(event)["arrival"] == f"{timestamp_ms} ms"
