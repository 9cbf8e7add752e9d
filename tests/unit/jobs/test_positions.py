"""What Kafka removed before a job read it."""

from __future__ import annotations

from jobs.flink.bounds import Bounds
from jobs.flink.positions import Removed, removed
from jobs.flink.rest import short_cause


def test_only_what_was_not_read_is_missing():
    # position:   0   5   9         first that is there: 6
    assert removed("events", {0: 0, 1: 5, 2: 9}, {0: 0, 1: 6, 2: 6}) == [Removed("events", 1, 5, 6)]


def test_a_position_at_the_first_record_misses_none():
    assert removed("events", {0: 6}, {0: 6}) == []


def test_what_is_missing_is_named_with_how_many():
    assert str(Removed("usage.events", 3, 120, 1_620)) == "usage.events, partition 3: 1,500 from offset 120 on"


def test_a_restored_run_never_reads_on_after_what_is_missing():
    options = Bounds("2024-01-01T00:00:00Z", restored=True).options()
    assert "'scan.startup.mode' = 'group-offsets'" in options
    assert "'properties.auto.offset.reset' = 'none'" in options
    assert "auto.offset.reset" not in Bounds().options()


def test_an_end_stays_when_a_run_is_restored():
    assert "'scan.bounded.mode' = 'latest-offset'" in Bounds(end="latest", restored=True).options()


def test_the_error_of_the_client_is_put_into_words():
    trace = "org.apache.flink…OffsetOutOfRangeException: Fetch position FetchPosition{offset=3} is out of range"
    assert "Kafka removed records that the job has not read" in short_cause(trace)
