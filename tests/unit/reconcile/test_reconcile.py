"""The pure core of reconciliation: samples, hashes, the equation of offsets, differences of rows, metrics."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.reconcile.findings import (
    MOST_FINDINGS,
    Finding,
    Outcome,
    capped,
    merged,
    name_of,
    outcome_of,
    row_finding,
    shown,
)
from tidemark.reconcile.manifest import Digest, id_bits
from tidemark.reconcile.metrics import exposition
from tidemark.reconcile.places import Place, Recomputed, equation
from tidemark.reconcile.sample import sampled

KEY = {"tenant_id": "t", "customer_id": "c", "meter": "m"}
ROW = {"n": 3, "samples": 2, "total": Decimal("2.500000000"), "lo": None}
ids = st.text(st.characters(exclude_categories=("C",)), min_size=1, max_size=12)
amounts = st.decimals(-(10**28), 10**28, places=9)
shares = st.integers(0, 1_000).map(lambda part: Decimal(part) / 1_000)


@given(ids, ids, shares, shares)
def test_a_greater_sample_holds_all_of_a_smaller_one(tenant: str, customer: str, one: Decimal, other: Decimal) -> None:
    less, more = sorted((one, other))
    assert not sampled(tenant, customer, less) or sampled(tenant, customer, more)


def test_a_sample_of_a_tenth_is_about_a_tenth_and_of_all_is_all() -> None:
    customers = [f"c{i}" for i in range(10_000)]
    assert 900 < sum(sampled("t", one, Decimal("0.1")) for one in customers) < 1_100
    assert all(sampled("t", one, Decimal(1)) for one in customers)


@given(st.lists(st.tuples(ids, amounts), unique_by=lambda pair: pair[0]), st.randoms())
def test_a_digest_is_the_same_in_every_order(events: list[tuple[str, Decimal]], shuffler: object) -> None:
    one, other = Digest(), Digest()
    for event in events:
        one.add(*event)
    shuffler.shuffle(events)  # type: ignore[attr-defined]
    for event in events:
        other.add(*event)
    assert (one, one.hash) == (other, other.hash)
    assert one.events == len(events)


@given(ids, ids, amounts)
def test_a_void_has_a_hash_of_its_own_and_takes_its_quantity_back(one: str, voided: str, quantity: Decimal) -> None:
    digest = Digest()
    digest.add(voided, quantity)
    digest.add(one, quantity, voids=voided)
    assert (digest.events, digest.quantity) == (2, 0)
    assert digest.bits == id_bits(voided) ^ id_bits(one, voided)


def test_the_hash_of_one_event_is_blake2b_of_its_id_and_that_of_none_is_zeros() -> None:
    digest = Digest()
    assert digest.hash == "0" * 32
    digest.add("e-1", Decimal(1))
    assert digest.hash == blake2b(b"e-1", digest_size=16).hexdigest()


places = st.builds(Place, st.sampled_from(["e", "r"]), st.integers(0, 3))
partitions = st.dictionaries(
    places, st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50)), min_size=1
)  # counted, duplicates and rejected of each


@given(partitions, st.data())
def test_the_equation_holds_when_all_is_accounted_for_and_fails_for_every_other_number(
    truth: dict[Place, tuple[int, int, int]], data: st.DataObject
) -> None:
    recomputed = {place: Recomputed(c + d, c, c, r) for place, (c, d, r) in truth.items()}
    total = sum(c for c, _, _ in truth.values())
    counted = {place: c for place, (c, _, _) in truth.items()}
    dead = {place: r for place, (_, _, r) in truth.items()}
    assert equation(recomputed, (total, total), counted, dead) == []
    place = data.draw(st.sampled_from(sorted(truth)))
    off = data.draw(st.integers(-10, 10).filter(bool))
    found = equation(recomputed, (total, total), {**counted, place: counted[place] + off}, dead)
    assert [(one.subject.get("partition"), one.delta) for one in found] == [(place.partition, off), (None, off)]
    found = equation(recomputed, (total, total), counted, {**dead, place: dead[place] + off})
    assert [(one.subject["topic"], one.delta) for one in found] == [(place.topic, off)]


def test_copies_in_several_partitions_may_have_been_counted_in_any_of_them_but_only_once() -> None:
    # One event with a copy in each of two partitions: nobody knows which was read first.
    one, other = Place("e", 0), Place("e", 1)
    recomputed = {one: Recomputed(11, 10, 11, 0), other: Recomputed(6, 5, 6, 0)}
    assert equation(recomputed, (16, 16), {one: 11, other: 5}, {}) == []
    assert equation(recomputed, (16, 16), {one: 10, other: 6}, {}) == []
    assert [f.subject for f in equation(recomputed, (16, 16), {one: 11, other: 6}, {})] == [{"partitions": "all"}]
    assert [f.delta for f in equation(recomputed, (16, 16), {one: 10, other: 5}, {})] == [Decimal(-1)]


def test_a_place_that_nobody_sent_to_has_no_events() -> None:
    ghost = Place("other", 9)
    (own, total) = equation({}, (0, 0), {ghost: 2}, {})
    assert (own.subject, own.delta, total.delta) == ({"topic": "other", "partition": 9}, 2, 2)


def test_equal_rows_are_no_finding_whatever_zeros_their_decimals_end_in() -> None:
    assert row_finding(KEY, ROW, {**ROW, "total": Decimal("2.5")}) is None


@pytest.mark.parametrize(
    ("actual", "says", "delta"),
    [
        ({**ROW, "total": Decimal("2.500000001")}, ("total 2.5", "total 2.500000001"), Decimal("0.000000001")),
        ({**ROW, "n": 4}, ("n 3", "n 4"), Decimal(0)),
        ({**ROW, "lo": Decimal(1)}, ("lo None", "lo 1"), Decimal(0)),
        (None, ("n 3, samples 2, total 2.5, lo None", None), Decimal("-2.5")),
    ],
)
def test_a_finding_says_what_differs_and_by_how_much(
    actual: dict[str, object] | None, says: tuple[str, str | None], delta: Decimal
) -> None:
    found = row_finding(KEY, ROW, actual)
    assert found is not None
    assert (found.expected, found.actual, found.delta) == (*says, delta)


@given(amounts, amounts, st.decimals(0, 10**6, places=9))
def test_the_tolerance_is_a_bound_that_may_be_reached_and_counts_have_none(
    one: Decimal, other: Decimal, tolerance: Decimal
) -> None:
    found = row_finding(KEY, {"n": 1, "total": one}, {"n": 1, "total": other}, tolerance=tolerance)
    # Compared as whole numbers of the ninth decimal, which nothing rounds.
    units = [*map(_units, (one, other, tolerance))]
    assert (found is None) == (abs(units[0] - units[1]) <= units[2])
    assert row_finding(KEY, {"n": 1}, {"n": 2}, tolerance=Decimal(10)) is not None


def _units(value: Decimal) -> int:
    whole, _, places = f"{value:.9f}".partition(".")
    return int(whole + places)


def test_the_name_of_a_subject_does_not_depend_on_the_order_of_its_columns() -> None:
    at = datetime(2024, 3, 1, tzinfo=UTC)
    one, other = {"a": 1, "hour_start": at}, {"hour_start": at, "a": 1}
    assert name_of(one) == name_of(other) == '{"a":1,"hour_start":"2024-03-01T00:00:00Z"}'
    assert shown(Decimal("1.50")) == "1.5"


def test_more_findings_than_are_kept_are_one_that_concerns_all() -> None:
    many = [Finding({"row": i}, "1", "2") for i in range(MOST_FINDINGS + 5)]
    found = outcome_of(many, 10_000)
    assert (found.differing, len(found.findings)) == (MOST_FINDINGS + 5, MOST_FINDINGS)
    assert found.findings[-1].delta == 6
    assert "tenant_id" not in found.findings[-1].subject
    assert capped(many[:3], 3) == many[:3]


def test_parts_of_a_check_add_up() -> None:
    one = Outcome(2, [Finding(KEY, "1", "2")], 1, 3, notes=["a"], unseen=lambda subject: subject == {"one": 1})
    other = Outcome(5, (), 0, 1, notes=["a", "b"])
    both = merged([one, other])
    assert (both.compared, both.differing, both.moving, both.notes) == (7, 1, 4, ["a", "b"])
    assert (both.unseen({"one": 1}), both.unseen({"two": 2})) == (True, False)


def test_metrics_have_every_check_and_the_last_run_of_those_that_were_made() -> None:
    at = datetime(2024, 3, 1, 12, tzinfo=UTC)
    text = exposition({"grains": 2}, {"grains": (7, at, 1_234)})
    assert text == (
        "# HELP tidemark_reconcile_drift Open differences: unexplained, in the last run of the check.\n"
        "# TYPE tidemark_reconcile_drift gauge\n"
        'tidemark_reconcile_drift{check="offsets"} 0\n'
        'tidemark_reconcile_drift{check="grains"} 2\n'
        'tidemark_reconcile_drift{check="live"} 0\n'
        'tidemark_reconcile_drift{check="rollups"} 0\n'
        'tidemark_reconcile_drift{check="manifests"} 0\n'
        'tidemark_reconcile_drift{check="voids"} 0\n'
        'tidemark_reconcile_drift{check="invoices"} 0\n'
        'tidemark_reconcile_drift{check="ledger"} 0\n'
        "# HELP tidemark_reconcile_last_run_timestamp_seconds "
        "End of the last run of a check that had a result.\n"
        "# TYPE tidemark_reconcile_last_run_timestamp_seconds gauge\n"
        'tidemark_reconcile_last_run_timestamp_seconds{check="grains"} 1709294400\n'
        "# HELP tidemark_reconcile_compared Comparisons of that run.\n"
        "# TYPE tidemark_reconcile_compared gauge\n"
        'tidemark_reconcile_compared{check="grains"} 1234\n'
    )
