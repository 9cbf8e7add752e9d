"""Which state of a checkpoint has a place in a plan."""

from __future__ import annotations

from jobs.upgrade.fit import Kept, misfits

PLANNED = {"aa": "3_deduplicate Deduplicate[3]", "bb": "5_over Over[5]"}


def kept(number: str, name: str = "", most: int = 128) -> Kept:
    return Kept(number, name, size_bytes=10, most=most)


def test_state_of_operators_that_are_there_fits():
    assert misfits([kept("aa"), kept("bb")], PLANNED, 4) == []


def test_an_operator_without_state_is_no_fault():
    assert misfits([kept("aa")], PLANNED, 4) == []


def test_state_without_an_operator_is_named():
    assert misfits([kept("cc", "4_deduplicate Deduplicate[4]")], PLANNED, 4) == [
        "4_deduplicate Deduplicate[4]: the plan has no such operator"
    ]
    assert misfits([kept("cc")], PLANNED, 4) == ["cc: the plan has no such operator"]


def test_more_subtasks_than_the_state_has_are_named():
    (fault,) = misfits([kept("aa", most=4), kept("bb")], PLANNED, 5)
    assert fault == "3_deduplicate Deduplicate[3]: its state can be spread over 4, not 5 subtasks"
