"""The flights demo on a small committed sample: event of a flight, record times, duplicates, order, catalog."""

import csv
import importlib.resources
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from tidemark.core.errors import TidemarkError
from tidemark.demo.flights import event_of, scheduled_ms, stream
from tidemark.oracle.oracle import Oracle

PARTITIONS = 4
SAMPLE = Path(__file__).with_name("data") / "flights_sample.csv"


@pytest.fixture(scope="module")
def flights():
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def records(flights):
    return stream(flights, PARTITIONS)


def flight(**changed):
    row = {
        "year": "2013", "month": "1", "day": "1", "dep_time": "517", "sched_dep_time": "515", "dep_delay": "2",
        "carrier": "UA", "flight": "1545", "tailnum": "N14228", "origin": "EWR", "dest": "IAH", "air_time": "227",
        "distance": "1400",
    }  # fmt: skip
    return row | changed


def at(record):
    return datetime.fromtimestamp(record.timestamp_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_flight_is_an_event_at_its_departure_recorded_at_its_landing():
    record = event_of(flight(), PARTITIONS)
    assert json.loads(record.value) == {
        "event_id": "20130101-UA-1545-EWR", "tenant_id": "EWR", "customer_id": "UA", "event_type": "flight",
        "timestamp": "2013-01-01T10:17:00Z", "quantity": 1400,
        "properties": {"dest": "IAH", "tailnum": "N14228", "dep_delay": 2, "air_time": 227},
    }  # fmt: skip
    assert at(record) == "2013-01-01T14:04:00Z"
    assert record.key == b"EWR/UA"


def test_a_delay_is_added_to_the_instant_so_the_skipped_hour_does_not_count():
    # Scheduled on 10 March at 01:50 UTC-5, 20 minutes late: 02:10 does not exist, it is 03:10 UTC-4.
    record = event_of(flight(month="3", day="10", sched_dep_time="150", dep_delay="20"), PARTITIONS)
    assert json.loads(record.value)["timestamp"] == "2013-03-10T07:10:00Z"


@pytest.mark.parametrize(("month", "day", "hour"), [("3", "10", "230"), ("11", "3", "130")])
def test_a_schedule_in_the_skipped_or_repeated_hour_is_refused(month, day, hour):
    with pytest.raises(TidemarkError, match="skipped or repeated"):
        scheduled_ms(flight(month=month, day=day, sched_dep_time=hour))


def test_a_cancelled_flight_has_no_timestamp_and_is_recorded_as_scheduled():
    record = event_of(flight(dep_time="", dep_delay="", air_time=""), PARTITIONS)
    assert json.loads(record.value)["timestamp"] is None
    assert at(record) == "2013-01-01T10:15:00Z"


def test_a_diverted_flight_is_recorded_four_hours_after_departure():
    record = event_of(flight(air_time=""), PARTITIONS)
    assert at(record) == "2013-01-01T14:17:00Z"
    assert json.loads(record.value)["properties"]["air_time"] is None


def test_every_schedule_agrees_with_the_hour_the_data_gives(flights):
    for row in flights:
        hour_ms = scheduled_ms(row) // 3_600_000 * 3_600_000
        assert hour_ms == datetime.fromisoformat(row["time_hour"]).timestamp() * 1000


def test_the_stream_is_ordered_numbered_and_the_same_again(flights, records):
    assert [r.seq for r in records] == list(range(len(records)))
    times = [r.timestamp_ms for r in records]
    assert times == sorted(times)
    assert stream(flights, PARTITIONS) == records


def test_the_records_of_the_first_months_are_the_first_ones_of_the_year(flights, records):
    for months in range(1, 13):
        part = stream(flights, PARTITIONS, months=months)
        assert part == records[: len(part)]
        assert len(part) < len(records) or months == 12
    assert part == records


def test_two_percent_arrive_twice_unchanged_and_within_grace(flights, records):
    by_value = Counter(r.value for r in records)
    copies = [value for value, times in by_value.items() if times == 2]
    assert max(by_value.values()) == 2
    assert len(copies) == len(records) - len(flights) == round(len(flights) * 0.02)
    last = {r.value: r.timestamp_ms for r in records}
    for value in copies:
        departed_ms = datetime.fromisoformat(json.loads(value)["timestamp"]).timestamp() * 1000
        assert last[value] - departed_ms < 48 * 3_600_000


def test_some_copies_are_in_another_partition_than_their_original(records):
    partitions = {}
    for record in records:
        partitions.setdefault(record.value, []).append(record.partition)
    twice = [pair for pair in partitions.values() if len(pair) == 2]
    assert 0 < sum(a != b for a, b in twice) < len(twice)


def test_each_event_has_an_id_of_its_own(flights):
    ids = {json.loads(event_of(row, PARTITIONS).value)["event_id"] for row in flights}
    assert len(ids) == len(flights)


def test_the_oracle_counts_departed_flights_once_and_rejects_the_cancelled(flights, records):
    catalog = yaml.safe_load(importlib.resources.files("tidemark.demo").joinpath("catalog.yaml").read_text())
    raw = [(r.partition, r.seq, r.timestamp_ms, r.value) for r in records]
    cancelled = sum(not row["dep_time"] for row in flights)
    with Oracle(catalog, raw) as oracle:
        counts = oracle.counts()
        miles = oracle.db.execute("SELECT sum(total) FROM usage_period WHERE meter = 'miles'").fetchone()
    assert counts.rejected == {"invalid_timestamp": cancelled}
    assert counts.counted == len(flights) - cancelled
    assert counts.duplicates == len(records) - len(flights)
    assert miles == (sum(int(row["distance"]) for row in flights if row["dep_time"]),)


def test_every_carrier_of_the_sample_has_a_calendar(flights):
    catalog = yaml.safe_load(importlib.resources.files("tidemark.demo").joinpath("catalog.yaml").read_text())
    for row in flights:
        assert catalog["tenants"][row["origin"]]["customers"][row["carrier"]]["calendar"] in catalog["calendars"]
