"""Copies by Flink's counters of the operators that drop them."""

from __future__ import annotations

from tidemark.health.copies import Copies, copies_of

EVENTS = {"Deduplicate[12].numRecordsIn": 100.0, "Deduplicate[12].numRecordsOut": 98.0}
VALUES = {"Deduplicate[40].numRecordsIn": 60.0, "Deduplicate[40].numRecordsOut": 5.0}


def test_the_operator_of_events_is_the_one_that_reads_most():
    assert copies_of({**VALUES, **EVENTS, "Calc[3].numRecordsIn": 900.0}) == Copies(100, 2)
    assert Copies(100, 2).percent == 2.0


def test_before_anything_is_read_there_are_none_and_without_counters_nobody_knows():
    assert copies_of(dict.fromkeys(EVENTS, 0.0)) == Copies(0, 0)
    assert Copies(0, 0).percent == 0.0
    assert copies_of({"Deduplicate[12].numRecordsIn": 1.0}) is None
