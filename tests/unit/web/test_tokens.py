"""Signed claims: who changed nothing sees what was signed, until it expires, and for what it was signed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.web.tokens import Claims, sign, verified

SECRET = b"s" * 32
CLAIMS = Claims("abc", "acme", 100, "c-7", "Europe/Berlin")
TEXT = sign(SECRET, "embed", CLAIMS)


def test_a_token_says_what_was_signed_until_it_expires() -> None:
    assert verified(SECRET, "embed", TEXT, 99.9) == CLAIMS
    assert verified(SECRET, "embed", TEXT, 100.0) is None


def test_a_token_is_for_one_purpose_and_of_one_secret() -> None:
    assert verified(SECRET, "session", TEXT, 0) is None
    assert verified(SECRET, "session", TEXT.replace("embed", "session", 1), 0) is None
    assert verified(b"t" * 32, "embed", TEXT, 0) is None


@given(st.integers(0, len(TEXT) - 1), st.characters(codec="utf-8"))
def test_a_token_that_was_changed_anywhere_is_refused(place: int, other: str) -> None:
    changed = TEXT[:place] + other + TEXT[place + 1 :]
    assert verified(SECRET, "embed", changed, 0) == (CLAIMS if changed == TEXT else None)


@pytest.mark.parametrize("text", ["", ".", "..", "embed..", "embed", "ß.ß.ß", f"{TEXT}.", f".{TEXT}"])
def test_what_is_no_token_is_refused(text: str) -> None:
    assert verified(SECRET, "embed", text, 0) is None
