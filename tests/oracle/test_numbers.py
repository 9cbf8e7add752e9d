"""Numbers of the oracle against Python's decimals: rounding half-even, and one text for all equal numbers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, Context, Decimal

import duckdb
import pytest

from tidemark.oracle.oracle import statement_named
from udfs.values import canonical

EXACT = Context(prec=200, rounding=ROUND_HALF_EVEN)
EDGES = (
    "0", "-0", "0e99999999999999999999", "1e-99999999999999999999", "-1e-10", "5e-10", "15e-10", "25e-10", "-25e-10",
    "0.00000000250000000000000000000000000000000000000000001", "0.0000000024999999999999999999999999", "1e17", "1e100",
    "999999999999999999.999999999", "999999999999999999.9999999994", "-999999999999999999.99999999949999", "1.50",
    "0.30000000000000004", "12345678901234567.00000000050", "1E+3", "0.1e1", "1e-101", "123e-200", "1" + "0" * 101,
)  # fmt: skip


@pytest.fixture(scope="module")
def numbers() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as db:
        db.execute(statement_named("numbers"))
        yield db


def written(rng: random.Random) -> str:
    """A JSON number below 10^18, often with a tie or nearly one at the tenth decimal."""
    whole = str(rng.randint(0, 10 ** rng.randint(0, 18) - 1))
    decimals = "".join(rng.choices("0123456789", k=rng.randint(0, 12)))
    if rng.random() < 0.5:
        decimals = decimals.ljust(9, "0")[:9] + rng.choice(
            ["5", "50", "500001", "49999", "5" + "0" * 40 + "1", "6", "4"]
        )
    text = f"{rng.choice(['', '-'])}{whole}" + (f".{decimals}" if decimals else "")
    return text + (f"e-{rng.randint(0, 12)}" if rng.random() < 0.2 else "")


def texts() -> list[str]:
    rng = random.Random(7)
    return [*EDGES, *(written(rng) for _ in range(3_000))]


def test_a_value_is_rounded_half_even_to_nine_decimals(numbers: duckdb.DuckDBPyConnection) -> None:
    small = [text for text in texts() if "99999999999" not in text.partition("e")[2] and abs(Decimal(text)) < 10**18]
    rows = numbers.execute("SELECT number_value(t, number_parts(t)) FROM (SELECT unnest($1) AS t)", [small]).fetchall()
    expected = [EXACT.quantize(Decimal(text), Decimal("1E-9")) for text in small]
    assert [(text, value) for text, (value,) in zip(small, rows, strict=True)] == list(
        zip(small, expected, strict=True)
    )


def test_equal_numbers_have_one_text_which_is_that_of_the_jobs(numbers: duckdb.DuckDBPyConnection) -> None:
    rows = numbers.execute("SELECT t, number_text(number_parts(t)) FROM (SELECT unnest($1) AS t)", [texts()]).fetchall()
    assert rows == [(text, canonical(text.encode())) for text in texts()]
    by_value: dict[Decimal, set[str]] = {}
    for text, grouped in rows:
        if "99999999999" not in text.partition("e")[2]:
            assert Decimal(grouped) == Decimal(text)
            by_value.setdefault(Decimal(text), set()).add(grouped)
    assert all(len(texts) == 1 for texts in by_value.values())
