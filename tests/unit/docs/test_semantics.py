"""The table of rules names a test for each of them, and each of those tests is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LINES = (ROOT / "docs" / "semantics.md").read_text("utf-8").splitlines()
ROWS = [line for line in LINES if line.startswith("| ") and not line.startswith("| question")]
TEST = re.compile(r"\| `(?P<file>[\w/]+\.py)(?:::(?P<name>\w+))?` \|$")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_a_rule_names_a_test_that_is_there(row: str) -> None:
    match = TEST.search(row)
    assert match is not None, "the last column names no test"
    text = (ROOT / match["file"]).read_text("utf-8")
    assert re.search(rf"^def {match['name'] or 'test_'}", text, re.MULTILINE)


def test_there_are_rules() -> None:
    assert len(ROWS) > 40
