"""The generated stream: repeatable, complete, and judged by the oracle as it was made."""

import sys
from collections import Counter
from pathlib import Path

import pytest

from jobs.oracle.oracle import Oracle
from udfs.reasons import Reason

sys.path.insert(0, str(Path(__file__).parents[1]))
from streams import CATALOG, expected_of, generate

# What a stream cannot be made to cause.
NEVER = {"internal_error"}


@pytest.fixture(scope="module")
def records():
    return generate(6_000)


@pytest.fixture(scope="module")
def oracle(records):
    offsets = Counter()
    raw = []
    for record in records:
        raw.append((record.partition, offsets[record.partition], record.timestamp_ms, record.value))
        offsets[record.partition] += 1
    with Oracle(CATALOG, raw) as built:
        yield built


def test_the_same_seed_makes_the_same_stream(records):
    assert generate(6_000) == records
    assert generate(6_000, seed=2) != records


def test_every_reason_is_there(records):
    assert {reason.value for reason in Reason} - NEVER == {r.reason for r in records if r.reason}


def test_duplicates_are_inside_and_across_partitions(records):
    partitions = {}
    for record in records:
        if record.identity:
            partitions.setdefault(record.identity, []).append(record.partition)
    twice = [found for found in partitions.values() if len(found) > 1]
    assert any(len(set(found)) == 1 for found in twice)
    assert any(len(set(found)) > 1 for found in twice)


def test_the_oracle_judges_every_record_as_it_was_made(records, oracle):
    verdicts, offsets, wrong = oracle.verdicts(), Counter(), []
    for record in records:
        verdict = verdicts[record.partition, offsets[record.partition]]
        offsets[record.partition] += 1
        accepted = verdict in {"counted", "duplicate"}
        if record.reason != (None if accepted else verdict):
            wrong.append((record.reason, verdict, record.value))
    assert wrong == []


def test_the_oracle_counts_as_expected_by_construction(records, oracle):
    expected, counts = expected_of(records), oracle.counts()
    assert (counts.offsets_in, counts.counted, counts.duplicates, counts.rejected) == (
        expected.offsets_in, expected.counted, expected.duplicates, expected.rejected,
    )  # fmt: skip
    assert expected.offsets_in == expected.counted + expected.duplicates + sum(expected.rejected.values())
