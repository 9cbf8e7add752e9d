"""What is known of keys while Postgres cannot be reached."""

from __future__ import annotations

import pytest

from tidemark.api.key_ring import OUTAGE_S, KeyRing
from tidemark.api.keys import StoredKey, new_key
from tidemark.core.errors import UnavailableError
from tidemark.core.settings import PostgresSettings

# Nothing listens there.
NOWHERE = PostgresSettings(url="postgresql://tidemark@127.0.0.1:1/tidemark")
MADE = new_key()
STORED = StoredKey(MADE.key_id, "acme", "", frozenset({"ingest"}), MADE.secret_hash)


def test_a_key_that_was_used_lately_goes_on_and_others_have_to_wait():
    now = [100.0]
    ring = KeyRing(NOWHERE, 10, clock=lambda: now[0])
    ring._entries[MADE.key_id] = STORED, now[0]
    assert ring.known(MADE.text) is not None
    now[0] += 11
    assert ring.known(MADE.text) is None
    assert ring.read(MADE.text)[0] is STORED
    # For a while it is not even asked for again.
    assert ring.known(MADE.text) is not None
    with pytest.raises(UnavailableError, match="Postgres did not answer just now"):
        ring.read(new_key().text)
    now[0] += 11
    with pytest.raises(UnavailableError, match="cannot be used"):
        ring.read(new_key().text)
    now[0] += OUTAGE_S
    assert ring.known(MADE.text) is None
    with pytest.raises(UnavailableError):
        ring.read(MADE.text)


def test_what_is_no_key_is_never_looked_up():
    assert KeyRing(NOWHERE, 10).read("nonsense")[0] is None
