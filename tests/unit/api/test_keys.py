"""Keys: their form, what is stored of them, what they allow."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tidemark.api.keys import StoredKey, bearer, check, id_of, new_key
from tidemark.api.problem import Problem

NOW = datetime(2026, 3, 1, tzinfo=UTC)
MADE = new_key()
STORED = StoredKey(MADE.key_id, "acme", "", frozenset({"ingest"}), MADE.secret_hash)


def refused(status: int):
    return pytest.raises(Problem, check=lambda problem: problem.status == status)


def test_a_key_names_its_id_and_is_stored_as_a_hash():
    assert id_of(MADE.text) == MADE.key_id
    assert MADE.text.encode() not in MADE.secret_hash
    assert new_key().text != MADE.text
    assert [id_of(text) for text in ("", MADE.key_id, MADE.text + "x", MADE.text[:-1])] == [None] * 4


def test_a_valid_key_is_taken():
    assert check(STORED, MADE.text, "ingest", NOW) is STORED
    assert check(replace(STORED, expires_at=NOW + timedelta(seconds=1)), MADE.text, "ingest", NOW)


@pytest.mark.parametrize(
    "key",
    [
        None,
        replace(STORED, secret_hash=new_key().secret_hash),
        replace(STORED, revoked_at=NOW - timedelta(days=1)),
        replace(STORED, expires_at=NOW),
    ],
)
def test_any_other_is_refused_alike(key):
    with refused(401):
        check(key, MADE.text, "ingest", NOW)


def test_a_scope_allows_itself_and_admin_all():
    with refused(403):
        check(STORED, MADE.text, "read", NOW)
    admin = replace(STORED, scopes=frozenset({"admin"}))
    assert all(check(admin, MADE.text, scope, NOW) for scope in ("ingest", "read", "admin"))


def test_the_key_is_in_the_header():
    assert bearer("bearer  x ") == "x"
    for header in (None, "", "Bearer", "Basic x", "Bearer  "):
        with refused(401):
            bearer(header)
