"""Keys of the HTTP API for tests."""

from __future__ import annotations

from tidemark.api import key_store
from tidemark.core import postgres
from tidemark.core.settings import Settings


def key_of(run: Settings, tenant: str, *scopes: str) -> str:
    """A new key of a tenant, as it is sent."""
    with postgres.connect(run.postgres) as connection:
        postgres.use_schema(connection, key_store.SCHEMA)
        return key_store.create(connection, tenant, scopes, "test", "tests").text
