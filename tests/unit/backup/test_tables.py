"""The order in which tables are filled: each after those it refers to."""

from __future__ import annotations

from graphlib import CycleError

import pytest

from tidemark.backup.tables import ordered

A, B, C = ("s", "a"), ("s", "b"), ("t", "c")


def test_each_table_comes_after_those_it_refers_to() -> None:
    names = ordered([A, B, C], [(A, C), (C, B)])
    assert names.index(B) < names.index(C) < names.index(A)


def test_a_circle_has_no_order() -> None:
    with pytest.raises(CycleError):
        ordered([A, B], [(A, B), (B, A)])
