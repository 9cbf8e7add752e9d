"""The model without an engine: what events come to at every grain, against values worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest

from tests.streams import CATALOG, HISTORY, StreamRecord, expected_of, generate
from tests.unit.catalogs import source_of, source_of_history
from tests.unit.dry_run.models import AT, POLICY, catalog, cloud, counted, event, meter, ms, values
from tidemark.dry_run.fold import GRAINS
from tidemark.dry_run.model import Model
from tidemark.dry_run.usage_rows import usage_rows
from udfs.catalog.model import CatalogSource
from udfs.meters.meter import Meter

# --- aggregations at each grain ---------------------------------------------------------------------------------------

# New York, UTC-5:      10 March ----------------------------> 11 March (UTC-4 since 07:00Z)
#   minute (UTC)   03:59        04:00   04:00        23:10      04:30
#   local day      9th          9th     9th          10th       11th
#   value          4            1       2.5          10         7
SAMPLES = [
    event("a", "2024-03-10T03:59:59.999Z", 4),
    event("b", "2024-03-10T04:00:00Z", 1),
    event("c", "2024-03-10T04:00:59Z", "2.5"),
    event("d", "2024-03-10T23:10:00Z", 10),
    event("e", "2024-03-11T04:30:00Z", 7),
]
MINUTES = ["2024-03-10T03:59Z", "2024-03-10T04:00Z", "2024-03-10T23:10Z", "2024-03-11T04:30Z"]
HOURS = ["2024-03-10T03:00Z", "2024-03-10T04:00Z", "2024-03-10T23:00Z", "2024-03-11T04:00Z"]
DAYS = ["2024-03-09", "2024-03-10", "2024-03-11"]
PERIODS = ["2024-03-01T05:00Z"]

EXPECTED = [
    # aggregation, by minute and hour, by day, by period
    ("count", ["1", "2", "1", "1"], ["3", "1", "1"], ["5"]),
    ("sum", ["4", "3.5", "10", "7"], ["7.5", "10", "7"], ["24.5"]),
    ("min", ["4", "1", "10", "7"], ["1", "10", "7"], ["1"]),
    ("max", ["4", "2.5", "10", "7"], ["4", "10", "7"], ["10"]),
    ("avg", ["4", "1.75", "10", "7"], ["2.5", "10", "7"], ["4.9"]),
    ("latest", ["4", "2.5", "10", "7"], ["2.5", "10", "7"], ["7"]),
    # No two values share a bin, so each is found exactly: the median of 1, 2.5, 4, 7, 10 is 4.
    ("percentile", ["4", "1", "10", "7"], ["2.5", "10", "7"], ["4"]),
]


@pytest.mark.parametrize(
    ("aggregation", "by_minute", "by_day", "by_period"), EXPECTED, ids=[row[0] for row in EXPECTED]
)
def test_a_meter_has_its_value_at_every_grain(
    aggregation: str, by_minute: list[str], by_day: list[str], by_period: list[str]
) -> None:
    model = counted(catalog(meter(aggregation), calendar="ny"), SAMPLES)
    assert values(model, "minute") == dict(zip(MINUTES, by_minute, strict=True))
    assert values(model, "hour") == dict(zip(HOURS, by_minute, strict=True))
    assert values(model, "day") == dict(zip(DAYS, by_day, strict=True))
    assert values(model, "period") == dict(zip(PERIODS, by_period, strict=True))


def test_a_unique_counts_each_value_once_a_day_and_once_a_period() -> None:
    users = ["u1", "u2", "u1", "u1", "3"]
    events = [raw[:-1] + f', "user_id": "{user}"}}'.encode() for raw, user in zip(SAMPLES, users, strict=True)]
    # The number 3 and the text "3" are one value.
    events.append(event("f", "2024-03-11T05:00:00Z", properties={"user_id": 3}))
    model = counted(catalog(meter("unique", value="user_id"), calendar="ny"), events)
    assert values(model, "day") == {"2024-03-09": "2", "2024-03-10": "1", "2024-03-11": "1"}
    assert values(model, "period") == {"2024-03-01T05:00Z": "3"}
    assert values(model, "minute") == values(model, "hour") == {}
    (row,) = usage_rows(model, "period")
    assert row.samples == 6


def test_a_weighted_sum_is_reported_by_day_and_period_alone() -> None:
    model = counted(catalog(meter("weighted_sum")), [event("a", "2024-03-10T06:00:00Z", 2)])
    assert values(model, "day") == {"2024-03-10": "36"}
    assert values(model, "period") == {"2024-03-01T00:00Z": str(2 * (31 * 24 - 9 * 24 - 6))}
    assert values(model, "minute") == values(model, "hour") == {}


def test_percentiles_are_within_a_percent_of_the_exact_ones() -> None:
    amounts = [round(1.13**k, 4) for k in range(-60, 80)]
    events = [event(str(k), "2024-03-10T06:00:00Z", amount) for k, amount in enumerate(amounts)]
    (row,) = usage_rows(counted(catalog(meter("percentile")), events), "period")
    exact = {"p50": amounts[69], "p95": amounts[132], "p99": amounts[138]}
    for name, amount in exact.items():
        assert abs(row.percentiles[name] / Decimal(str(amount)) - 1) <= Decimal("0.00991")
    assert row.value == row.percentiles["p50"]


def test_an_average_is_rounded_half_even_to_nine_decimals() -> None:
    at = "2024-03-10T06:00:00Z"
    thirds = counted(catalog(meter("avg")), [event("a", at, 1), event("b", at, 2), event("c", at, 2)])
    halves = counted(catalog(meter("avg")), [event("a", at, "0.000000001"), event("b", at, "0.000000002")])
    assert values(thirds, "day") == {"2024-03-10": "1.666666667"}
    assert values(halves, "day") == {"2024-03-10": "0.000000002"}


def test_the_latest_is_by_event_time_then_by_id_whatever_came_first() -> None:
    events = [
        event("b", "2024-03-10T06:00:01Z", 1),
        event("ä", "2024-03-10T06:00:01Z", 2),
        event("z", "2024-03-10T06:00:01Z", 3),
        event("zz", "2024-03-10T06:00:00.999Z", 4),
    ]
    assert values(counted(catalog(meter("latest")), events), "day") == {"2024-03-10": "2"}


def test_groups_are_added_up_apart() -> None:
    events = [
        event(str(k), "2024-03-10T06:00:00Z", k, properties={"to": {"city": city}}) for k, city in enumerate("aba")
    ]
    model = counted(catalog(meter("sum", group_by=("to.city",))), events)
    result = {row.series.dims: row.value for row in usage_rows(model, "day")}
    assert result == {'{"to.city":"a"}': 2, '{"to.city":"b"}': 1}


def test_the_order_and_the_batches_of_events_do_not_matter() -> None:
    meters = [Meter(name, ("use",), name) for name, *_ in EXPECTED] + [Meter("held", ("use",), "weighted_sum")]  # type: ignore[arg-type]
    source = catalog(*meters, calendar="ny")
    rows = [list(counted(source, SAMPLES).fold.rows(grain)) for grain in GRAINS]
    for batch in (1, 2):
        backwards = counted(source, reversed(SAMPLES), batch)
        assert [list(backwards.fold.rows(grain)) for grain in GRAINS] == rows


# --- what counts as one event -----------------------------------------------------------------------------------------


def test_a_cloud_event_and_a_native_one_of_the_same_source_and_id_are_one() -> None:
    events = [
        cloud("a", "here", 5),
        event("a", AT, 5, schema_version=2, source="here"),
        event("a", AT, 70, schema_version=2, source="there"),
        event("a", AT, 700, source="here"),
    ]
    model = counted(catalog(meter("sum")), events)
    # Version 1 has no source: what it calls so is a field of its own.
    assert values(model, "day") == {"2024-03-10": "775"}
    assert model.counts.duplicates == 1


def test_the_first_of_two_equal_ids_counts_also_across_batches() -> None:
    events = [event("a", AT, 1), event("b", AT, 10), event("a", AT, 100)]
    model = counted(catalog(meter("sum")), events, batch=1)
    assert values(model, "day") == {"2024-03-10": "11"}
    assert (model.counts.read, model.counts.counted, model.counts.duplicates) == (3, 2, 1)


def test_a_unit_is_that_of_the_version_that_holds() -> None:
    moved = ms("2024-03-10T00:00:00Z")
    before = meter("sum", unit="GB", valid_to_ms=moved)
    after = meter("sum", unit="GiB", valid_from_ms=moved)
    model = counted(catalog(before, after), [event("a", "2024-03-09T00:00:00Z"), event("b", "2024-03-10T00:00:00Z")])
    assert [row.meter.unit for row in usage_rows(model, "day")] == ["GB", "GiB"]


# --- the seeded stream ------------------------------------------------------------------------------------------------


def modelled(source: CatalogSource, records: Sequence[StreamRecord]) -> Model:
    model = Model(source, POLICY)
    for first in range(0, len(records), 500):
        batch = records[first : first + 500]
        places = range(first, first + len(batch))
        model.feed([r.value for r in batch], [r.timestamp_ms for r in batch], [r.partition for r in batch], places)
    return model


def test_every_record_of_the_stream_becomes_what_it_was_built_for() -> None:
    records = generate(6_000)
    model = modelled(source_of(CATALOG), records)
    reasons = {rejection.offset: rejection.reason for rejection in model.rejections if not rejection.partial}
    expected, report = expected_of(records), model.voids()
    assert [
        (record.reason, reasons.get(place), record.value)
        for place, record in enumerate(records)
        if reasons.get(place) != record.reason
    ] == []
    assert (model.counts.read, model.counts.counted, model.counts.duplicates, model.counts.unmeasured) == (
        expected.offsets_in, expected.counted, expected.duplicates, expected.unmeasured,
    )  # fmt: skip
    assert model.partly_rejected() == expected.partial
    assert min(expected.partial.values()) > 1
    assert report.applied == expected.voids
    assert set(report.without_original) == expected.without_original
    assert set(report.with_other_values) == expected.with_other_values


def test_the_stream_under_its_history_has_periods_cut_at_the_change_and_rejects_the_same() -> None:
    records = generate(3_000)
    before, after = modelled(source_of(CATALOG), records), modelled(source_of_history(HISTORY), records)
    # alice:  29 February 05:00Z ──── 31 March 04:00Z   becomes   29 February ──── 17 March 12:34Z | ── 30 March 01:30Z
    periods = [_periods_of(model, "acme", "alice") for model in (before, after)]
    assert (ms("2024-02-29T05:00:00Z"), ms("2024-03-31T04:00:00Z")) in periods[0]
    assert (ms("2024-02-29T05:00:00Z"), ms("2024-03-17T12:34:00Z")) in periods[1]
    assert (ms("2024-03-17T12:34:00Z"), ms("2024-03-30T01:30:00Z")) in periods[1]
    assert not any(start < ms("2024-03-17T12:34:00Z") < end for start, end in periods[1])
    assert before.rejected() == after.rejected()


def _periods_of(model: Model, tenant: str, customer: str) -> set[tuple[int, int]]:
    return {
        (bucket, cell.period_end_ms)
        for series, _, bucket, cell in model.fold.rows("period")
        if (series.tenant, series.customer) == (tenant, customer) and isinstance(bucket, int)
    }
