"""Questions in OpenMeter's words, as ours."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from tidemark.api.conditions import Condition
from tidemark.api.openmeter import MeterQuery, filters_of, window_end
from tidemark.api.problem import Problem
from tidemark.api.usage_query import UsageAsked


def test_a_query_is_a_question_of_ours():
    asked = MeterQuery(
        "2024-03-01T00:00:00Z", "", "DAY", "Asia/Tokyo", ["a", "b"], ["a", "c"], {"m": ["x", "y"]},
        {"subject": Condition(ne="z")}, ["subject", "m", "m"],
    )  # fmt: skip
    assert asked.asked("calls") == UsageAsked(
        "calls", "day", ("a",), "2024-03-01T00:00:00Z", "", "Asia/Tokyo", ("customer_id", "m"), {"m": ("x", "y")},
        limit=10_000, conditions={"customer_id": Condition(ne="z")},
    )  # fmt: skip
    assert MeterQuery(subject=["a"], filter_customer_id=["b"]).is_empty
    assert MeterQuery(filter_customer_id=["b"]).customers == ["b"]
    assert MeterQuery().asked("calls").grain == "total"
    # A zone is of days and months alone.
    assert MeterQuery(window_size="HOUR", window_time_zone="Asia/Tokyo").asked("calls").zone == ""


@pytest.mark.parametrize(
    ("window", "zone", "start", "end"),
    [
        ("MINUTE", "Etc/UTC", "2024-02-28T23:59", "2024-02-29T00:00"),
        ("HOUR", "Etc/UTC", "2024-02-29T23:00", "2024-03-01T00:00"),
        ("DAY", "Etc/UTC", "2024-02-29T00:00", "2024-03-01T00:00"),
        # Berlin's day of 23 hours.
        ("DAY", "Europe/Berlin", "2024-03-30T23:00", "2024-03-31T22:00"),
        ("MONTH", "Etc/UTC", "2024-12-01T00:00", "2025-01-01T00:00"),
        ("MONTH", "Europe/Berlin", "2024-02-29T23:00", "2024-03-31T22:00"),
    ],
)
def test_a_window_ends_where_the_next_begins(window, zone, start, end):
    asked = MeterQuery(window_size=window, window_time_zone=zone)
    begin, finish = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (start, end))
    assert window_end(asked, begin) == finish


@given(st.datetimes(datetime(1971, 1, 1), datetime(2099, 12, 31)))  # noqa: DTZ001
def test_the_only_window_ends_where_it_was_asked_to(at):
    minute = at.replace(second=0, microsecond=0, tzinfo=UTC)
    assert window_end(MeterQuery(to=minute.isoformat()), minute) == minute


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        # As their clients for JavaScript, for Python, and a person write it.
        ("filterGroupBy[region]=us&filterGroupBy[region]=eu", {"region": ["us", "eu"]}),
        ("filterGroupBy={'region': 'us'}", {"region": ["us"]}),
        ('filterGroupBy={"region": ["us", "eu"], "tier": "pro"}', {"region": ["us", "eu"], "tier": ["pro"]}),
        ("from=2024-03-01", {}),
    ],
)
def test_filters_are_read_as_clients_send_them(sent, read):
    assert filters_of(QueryParams(sent)) == read


@pytest.mark.parametrize("sent", ["us", "{'region': 1}", "[1]", "{" * 5_000, "__import__('os')", "{'a': 'b'", "\0"])
def test_a_filter_that_cannot_be_read_is_refused(sent):
    with pytest.raises(Problem):
        filters_of(QueryParams({"filterGroupBy": sent}))
