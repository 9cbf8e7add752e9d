"""The recomputation that every figure rests on, against sums by hand; and each difference is found."""

from __future__ import annotations

import json
from collections import defaultdict
from decimal import Decimal

import pytest

from tests.bench import events, truth
from tests.bench.events import GRACE_MS, Load

END_MS = 1_700_000_000_000
COUNT = 2_000


@pytest.fixture(scope="module")
def answer(tmp_path_factory) -> truth.Truth:
    file = tmp_path_factory.mktemp("truth") / "events.tsv"
    events.write(Load(COUNT), END_MS, file)
    return truth.recompute(file, END_MS)


def by_hand(answer: truth.Truth) -> dict[tuple[str, str, str], list[Decimal]]:
    """n and total of each customer, meter and minute."""
    totals: dict[tuple[str, str, str], list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])
    seen, oldest = set(), events.second((END_MS - GRACE_MS) // 1_000)
    for line in answer.file.read_bytes().splitlines():
        try:
            event = json.loads(line.partition(b"\t")[2], parse_float=Decimal)
        except ValueError:
            continue
        if event["event_id"] not in seen and event["timestamp"] >= oldest:
            seen.add(event["event_id"])
            total = totals[event["customer_id"], event["event_type"], event["timestamp"][:16] + ":00Z"]
            total[0] += 1
            total[1] += event["quantity"]
    return totals


def as_deltas(totals, file, *, parts: int = 1) -> None:
    """A delta of each total, or several that add up to it."""
    lines = []
    for index, ((customer, meter, minute), (n, total)) in enumerate(sorted(totals.items())):
        for part in range(parts):
            share = {"n": int(n) if part == 0 else 0, "total": str(total) if part == 0 else "0"}
            delta = {"customer_id": customer, "meter": meter, "minute": minute, **share}
            lines.append(f"{index}\t{json.dumps(delta)}")
    file.write_text("\n".join(lines) + "\n")


def as_rows(totals, file) -> None:
    lines = [f"{customer},{meter},{minute},{n},{total}" for (customer, meter, minute), (n, total) in totals.items()]
    file.write_text("\n".join(lines) + "\n")


def test_a_replay_counts_what_was_late(answer):
    replayed = truth.recompute(answer.file, END_MS, replayed=True)
    assert replayed.events == answer.events
    assert answer.counted < replayed.counted < replayed.events
    assert truth.recompute(answer.file, END_MS).counted == answer.counted


def test_it_counts_what_sums_by_hand_count(answer):
    totals = by_hand(answer)
    assert answer.events == COUNT
    assert answer.counted == sum(n for n, _ in totals.values())
    assert 0.85 * COUNT < answer.counted < 0.97 * COUNT


@pytest.mark.parametrize("parts", [1, 3])
def test_deltas_that_add_up_are_equal(answer, tmp_path, parts):
    as_deltas(by_hand(answer), tmp_path / "deltas", parts=parts)
    written = answer.of_deltas(tmp_path / "deltas")
    assert written.difference == ""
    assert sum(n for _, n in written.times) == answer.counted
    assert [at for at, _ in written.times] == sorted(at for at, _ in written.times)


def test_rows_that_are_equal_have_no_difference(answer, tmp_path):
    as_rows(by_hand(answer), tmp_path / "rows.csv")
    assert answer.of_rows("minute", tmp_path / "rows.csv").difference == ""


@pytest.mark.parametrize("change", [{"n": 1}, {"total": Decimal("0.25")}, {"n": -1}])
def test_a_row_that_differs_is_found(answer, tmp_path, change):
    totals = by_hand(answer)
    first = totals[min(totals)]
    first[0] += change.get("n", 0)
    first[1] += change.get("total", 0)
    as_rows(totals, tmp_path / "rows.csv")
    difference = answer.of_rows("minute", tmp_path / "rows.csv").difference
    assert "1 rows missing or different" in difference
    assert f"{answer.counted + change.get('n', 0)} events counted, {answer.counted} expected" in difference


def test_a_row_too_few_and_one_too_many_are_found(answer, tmp_path):
    totals = by_hand(answer)
    customer, meter, minute = min(totals)
    totals["customer-999999", meter, minute] = totals.pop((customer, meter, minute))
    as_deltas(totals, tmp_path / "deltas")
    difference = answer.of_deltas(tmp_path / "deltas").difference
    assert "1 rows missing or different, 1 rows not in the oracle" in difference
