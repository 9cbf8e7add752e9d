"""Voids in the model: what is taken back, what cannot be, and the report of voids that match no event."""

from __future__ import annotations

import pytest

from tests.unit.dry_run.models import AT, catalog, cloud, counted, event, meter, values, void
from tidemark.dry_run.fold import GRAINS
from tidemark.dry_run.model import UnmatchedVoid, VoidReport
from tidemark.dry_run.usage_rows import usage_rows


@pytest.mark.parametrize(("aggregation", "value"), [("count", "1"), ("sum", "7"), ("avg", "7")])
@pytest.mark.parametrize("order", [(0, 1, 2, 2), (2, 0, 1, 2), (2, 2, 1, 0)])
def test_a_void_takes_back_once_however_often_and_early_it_is_sent(
    aggregation: str, value: str, order: tuple[int, ...]
) -> None:
    sent = [event("a", AT, 5), event("b", AT, 7), void("a", AT, 5)]
    model = counted(catalog(meter(aggregation)), [sent[place] for place in order])
    assert values(model, "minute") == {"2024-03-10T06:00Z": value}
    (row,) = usage_rows(model, "period")
    assert row.samples == 1
    assert (model.counts.counted, model.counts.duplicates) == (3, 1)
    assert model.voids() == VoidReport(1)


@pytest.mark.parametrize(("aggregation", "value"), [("min", "5"), ("max", "7"), ("latest", "7"), ("percentile", "5")])
def test_what_cannot_be_subtracted_is_left_as_it_is(aggregation: str, value: str) -> None:
    # A void counts in n, so that the stored row is written again, and in nothing else.
    model = counted(catalog(meter(aggregation)), [event("a", AT, 5), event("b", AT, 7), void("b", AT, 7)])
    assert values(model, "day") == {"2024-03-10": value}
    (row,) = usage_rows(model, "day")
    assert row.samples == 2
    assert sum(cell.n for _, _, _, cell in model.fold.rows("day")) == 3


def test_a_weighted_sum_is_taken_back_exactly() -> None:
    events = [event("a", AT, "0.000000007"), event("b", AT, 1), void("a", AT, "0.000000007")]
    assert values(counted(catalog(meter("weighted_sum")), events), "day") == {"2024-03-10": "18"}


@pytest.mark.parametrize("aggregation", ["min", "max", "avg", "latest", "percentile", "unique"])
def test_a_bucket_with_nothing_but_voids_or_all_taken_back_has_no_value(aggregation: str) -> None:
    value = {"value": "user_id"} if aggregation == "unique" else {}
    sent = [void("a", AT, 5, user_id="u")]
    if aggregation == "avg":
        sent.append(event("a", AT, 5, user_id="u"))
    model = counted(catalog(meter(aggregation, **value)), sent)
    assert [values(model, grain) for grain in GRAINS] == [{}] * 4


@pytest.mark.parametrize("events", [1, 2])
def test_an_average_needs_a_sample_that_voids_leave(events: int) -> None:
    # Taken back in a bucket the event is not in: -10 by -1 is no average of 10.
    sent = [event(f"{place}", AT, 10) for place in range(events)]
    sent += [void(f"{place}", "2024-04-02T12:00:00Z", 10) for place in range(events)]
    model = counted(catalog(meter("avg")), sent)
    assert values(model, "period") == {"2024-03-01T00:00Z": "10"}


def test_voids_that_fit_no_event_are_reported() -> None:
    events = [
        event("a", AT, 5), event("b", AT, 5), event("c", AT, 5), event("d", AT, 5), event("d", AT, 6),
        void("a", AT, 5),
        void("b", AT, 6),
        void("c", "2024-03-10T07:00:00Z", 5),
        # The first event of this id counts, so this takes back something else.
        void("d", AT, 6),
        void("never sent", AT, 5),
        # Voids are no events that could be taken back.
        void("void of a", AT, 5),
    ]  # fmt: skip
    report = counted(catalog(meter("sum")), events).voids()
    assert report.applied == 6
    assert report.without_original == ("never sent", "void of a")
    assert report.with_other_values == ("b", "c", "d")
    assert [(item.voids, item.why) for item in report.unmatched] == [
        ("b", "other_values"), ("c", "other_values"), ("d", "other_values"), ("never sent", "no_original"),
        ("void of a", "void_of_a_void"),
    ]  # fmt: skip
    assert report.unmatched[-1] == UnmatchedVoid("void of a", "acme", "alice", "void of void of a", "void_of_a_void")


def test_only_what_can_be_subtracted_must_agree() -> None:
    events = [event("a", AT, 5), void("a", AT, 6)]
    assert counted(catalog(meter("max")), events).voids() == VoidReport(1)
    assert counted(catalog(meter("count")), events).voids() == VoidReport(1)


def test_a_void_of_an_event_that_no_meter_measures_takes_that_back_too() -> None:
    nothing = meter("count", filter='{"exists":true,"property":"tag"}')
    events = [event("a", AT), event("b", AT), void("a", AT)]
    model = counted(catalog(nothing), events)
    assert values(model, "day", name="tidemark.unmeasured") == {"2024-03-10": "1"}
    assert (model.counts.counted, model.counts.unmeasured) == (3, 3)


def test_a_void_takes_back_an_event_of_its_own_source_alone() -> None:
    events = [
        cloud("a", "here", 5),
        cloud("a", "there", 7),
        cloud("x", "there", 7, voids="a"),
        cloud("y", "z", 1, voids="a"),
    ]
    model = counted(catalog(meter("sum")), events)
    assert values(model, "day") == {"2024-03-10": "4"}
    assert (model.voids().applied, model.voids().without_original) == (2, ("a",))


def test_a_void_is_one_however_its_field_is_spelled() -> None:
    spelled = void("a", AT, 5).replace(b'"voids"', b'"\\u0076oids"')
    model = counted(catalog(meter("sum")), [event("a", AT, 5), spelled, void("a", AT, 5)])
    assert model.counts.duplicates == 1
    assert model.voids() == VoidReport(1)
