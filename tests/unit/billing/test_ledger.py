"""The ledger's algebra: closes and corrections add up to what was wanted, whatever came in which order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import schemas
from tests.unit.billing.ledger_parts import CONTEXT, LINE_KEYS, PERIODS, Kept, lines_of, states
from tidemark.billing.lines import Line, LineKey, Lines, PeriodKey, content_hash, same
from tidemark.billing.messages import LedgerGapError, LedgerReader, close_message, correction_message, key_of
from tidemark.billing.true_up import Change, Close, Correction, Entry, cause_of, current_periods, true_up
from udfs.values import EXACT, plain

CALLS = LineKey("calls", "")


def line(value: str, samples: int = 1, n: int = 1) -> Line:
    return Line("sum", "calls", n, samples, Decimal(value))


@given(st.lists(states, max_size=6))
def test_close_and_corrections_add_up_to_what_was_wanted_last(history: list[Mapping[PeriodKey, Lines]]) -> None:
    kept = Kept()
    for wanted in history:
        kept.bring_to(wanted)
        for key, entry in kept.entries.items():
            lines = wanted.get(key, {})
            assert same(entry.lines, lines)
            assert entry.is_current == (key in wanted)
            for at in LINE_KEYS:
                assert kept.summed(key, at) == (lines[at].value if at in lines else 0)


@given(st.lists(states, max_size=6))
def test_nothing_is_due_a_second_time(history: list[Mapping[PeriodKey, Lines]]) -> None:
    kept = Kept()
    for wanted in history:
        kept.bring_to(wanted)
        again = true_up(kept.entries, {key: lines for key, lines in wanted.items() if key in kept.entries})
        assert (again.closes, again.corrections) == ([], [])


@given(st.lists(states, max_size=6))
def test_corrections_are_numbered_without_a_gap_and_change_something(history: list[Mapping[PeriodKey, Lines]]) -> None:
    kept, numbers = Kept(), dict.fromkeys(PERIODS, 0)
    for wanted in history:
        for correction in kept.bring_to(wanted).corrections:
            numbers[correction.key] += 1
            assert correction.number == numbers[correction.key]
            assert all(change.before != change.after for change in correction.changes.values())


@given(st.lists(states, max_size=6), st.randoms())
def test_a_consumer_of_both_topics_reaches_the_ledger_however_they_interleave(
    history: list[Mapping[PeriodKey, Lines]], rng: object
) -> None:
    kept = Kept()
    for wanted in history:
        kept.bring_to(wanted)
    reader, closes, corrections = LedgerReader(), list(kept.closes), list(kept.corrections)
    # Each topic keeps its order; how the two are read is anybody's choice.
    while closes or corrections:
        if closes and (not corrections or rng.random() < 0.5):  # type: ignore[attr-defined]
            reader.close(closes.pop(0))
        else:
            reader.correct(corrections.pop(0))
    assert reader.entries.keys() == kept.entries.keys()
    for key, entry in kept.entries.items():
        known = reader.entries[key]
        assert same(known.lines, entry.lines)
        assert (known.corrections, known.is_current) == (entry.corrections, entry.is_current)


@given(st.lists(states, min_size=1, max_size=4))
def test_messages_fit_their_schemas(history: list[Mapping[PeriodKey, Lines]]) -> None:
    kept = Kept()
    for wanted in history:
        kept.bring_to(wanted)
    for topic, texts in (("usage.closes", kept.closes), ("usage.corrections", kept.corrections)):
        validator = Draft202012Validator(schemas.topic_schema(topic))
        assert [error.message for text in texts for error in validator.iter_errors(json.loads(text))] == []


@pytest.mark.parametrize("topic", ["usage.closes", "usage.corrections"])
def test_examples_of_the_topics_are_read_by_a_consumer(topic: str) -> None:
    close = json.dumps(schemas.topic_examples("usage.closes")["two_lines.json"]["value"])
    for name, example in schemas.topic_examples(topic).items():
        reader = LedgerReader()
        if not example["valid"]:
            continue
        if topic == "usage.closes":
            reader.close(json.dumps(example["value"]))
        else:
            reader.close(close)
            reader.correct(json.dumps(example["value"]))
        assert reader.entries, name


def test_a_gap_in_the_corrections_is_seen() -> None:
    kept, key = Kept(), PERIODS[0]
    for value in ("1", "2", "3"):
        kept.bring_to({key: {CALLS: line(value)}})
    reader = LedgerReader()
    reader.close(kept.closes[0])
    with pytest.raises(LedgerGapError, match="correction 2 follows 0"):
        reader.correct(kept.corrections[1])


def test_a_number_that_was_changed_on_its_way_is_seen() -> None:
    text = close_message(Close(PERIODS[0], {CALLS: line("1.5")}), CONTEXT)
    with pytest.raises(LedgerGapError, match="do not have the hash"):
        LedgerReader().close(text.replace('"value":"1.5"', '"value":"1.6"'))


def test_a_period_that_is_closed_twice_is_seen() -> None:
    text, reader = close_message(Close(PERIODS[0], {}), CONTEXT), LedgerReader()
    reader.close(text)
    with pytest.raises(LedgerGapError, match="closed twice"):
        reader.close(text)


@given(st.sampled_from(PERIODS), lines_of, st.randoms())
def test_the_hash_is_the_same_in_any_order_and_with_any_zeros(key: PeriodKey, lines: Lines, rng: object) -> None:
    items = list(lines.items())
    rng.shuffle(items)  # type: ignore[attr-defined]
    padded = {at: replace(line, value=Decimal(f"{line.value:.12f}"), n=line.n + 1) for at, line in items}
    assert content_hash(key, padded) == content_hash(key, lines)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0", "0"),
        ("-0", "0"),
        ("0.000000000", "0"),
        ("100", "100"),
        ("1E+2", "100"),
        ("-1.500", "-1.5"),
        ("1E-9", "0.000000001"),
    ],
)
def test_a_value_is_plain_text(value: str, text: str) -> None:
    assert plain(Decimal(value)) == text


def test_another_number_of_events_with_the_same_values_is_no_correction() -> None:
    key = PERIODS[0]
    assert true_up({key: Entry({CALLS: line("5", 2, 2)})}, {key: {CALLS: line("5.0", 2, 4)}}).corrections == []


#  a: |--1--|--2--|--3--|--4--|      closed, without usage
#     |----one----|                  with usage
def test_a_closed_period_without_usage_stands_unless_another_lies_across_it() -> None:
    days, across = PERIODS[:4], PERIODS[4]
    assert current_periods(days, [across]) == {across, *days[2:]}
    assert current_periods(days, [days[0]]) == set(days)


def test_taking_back_is_distinguished_from_counting_late() -> None:
    assert cause_of({CALLS: Change(line("5", 2), line("9", 3))}) == "late_events"
    assert cause_of({CALLS: Change(line("5", 2), line("4", 1))}) == "void"
    assert cause_of({CALLS: Change(line("5", 2), None)}) == "void"
    assert cause_of({CALLS: Change(None, line("5", 2))}) == "late_events"


def test_the_key_of_a_record_keeps_ids_apart() -> None:
    first, second = (
        PERIODS[0]._replace(tenant_id="a/b", customer_id="c"),
        PERIODS[0]._replace(tenant_id="a", customer_id="b/c"),
    )
    assert key_of(first) != key_of(second)
    assert json.loads(key_of(first)) == ["a/b", "c"]


def test_a_correction_says_before_after_and_delta() -> None:
    change = {CALLS: Change(line("5"), line("7.5"))}
    text = correction_message(Correction(PERIODS[0], 1, change, {CALLS: line("7.5")}), CONTEXT, "replay", "r1")
    (row,) = json.loads(text)["lines"]
    assert (row["before"]["value"], row["after"]["value"], row["delta"]) == ("5", "7.5", "2.5")


@pytest.mark.parametrize(
    ("before", "after"), [("12345678901234567890.123456789", None), ("1E-9", "12345678901234567890")]
)
def test_a_delta_of_38_digits_is_exact(before: str, after: str | None) -> None:
    change = Change(line(before), None if after is None else line(after))
    # Integers are: the ledger demands that after less before is the delta.
    billionths = [0 if value is None else int(Decimal(value).scaleb(9, EXACT)) for value in (before, after)]
    assert int(change.delta.scaleb(9, EXACT)) == billionths[1] - billionths[0]
