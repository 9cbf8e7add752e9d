"""Suggestions for what somebody misspelt; the questions to Postgres are in tests/integration/cli/test_known.py."""

from __future__ import annotations

import pytest

from tidemark.cli.known import suggestion


@pytest.mark.parametrize(
    ("wrong", "names", "expected"),
    [
        ("flihgts", ["flights", "departures"], "did you mean 'flights'?"),
        ("FLIGHTS", ["flights", "departures"], "did you mean 'flights'?"),
        ("cumulus", ["Cumulus"], "did you mean 'Cumulus'?"),
        ("zzz", ["b", "a"], "there are 'a', 'b'."),
        ("zzz", list("abcdefg"), "there are 'a', 'b', 'c', 'd', 'e' and 2 more."),
        ("zzz", [], ""),
    ],
)
def test_the_closest_name_is_suggested(wrong: str, names: list[str], expected: str) -> None:
    assert suggestion(wrong, names) == expected
