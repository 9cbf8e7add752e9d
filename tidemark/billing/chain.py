"""The chain of the ledger: each close and correction has the hash of the one of its tenant before it.

A chain of each tenant, over closes and corrections: its records can be checked without those of others, and writers of
different tenants would not wait for each other. Those of one ledger hold one lock as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from tidemark.core.names import Names

# What the first record of a chain follows.
BEGINNING = "0" * 64
_HEADS = """
SELECT wanted.tenant_id, head.chain_no, head.record_hash
FROM unnest(%s::text[]) AS wanted (tenant_id)
CROSS JOIN LATERAL (
    (SELECT chain_no, record_hash FROM {schema}.period_close c
     WHERE c.tenant_id = wanted.tenant_id AND chain_no IS NOT NULL ORDER BY chain_no DESC LIMIT 1)
    UNION ALL
    (SELECT chain_no, record_hash FROM {schema}.correction c
     WHERE c.tenant_id = wanted.tenant_id AND chain_no IS NOT NULL ORDER BY chain_no DESC LIMIT 1)
    ORDER BY chain_no DESC LIMIT 1
) head
"""


class Link(NamedTuple):
    """The place of a record in the chain of its tenant: its number, 1, 2, 3 …, and the hash of the record before."""

    number: int
    previous: str


def hash_of(body: str) -> str:
    """SHA-256, in hexadecimal, of the value of a record in Kafka, which has the hash of the record before it."""
    return sha256(body.encode()).hexdigest()


class Chain:
    """The ends of the chains of some tenants, for who adds to them under the lock of the ledger.

    Parameters
    ----------
    ends:
        The link of the next record, by tenant; a tenant without is at the beginning.
    """

    def __init__(self, ends: Mapping[str, Link]) -> None:
        self._ends = dict(ends)

    def link(self, tenant: str) -> Link:
        """The link that the next record of a tenant has."""
        return self._ends.get(tenant, Link(1, BEGINNING))

    def add(self, tenant: str, body: str) -> dict[str, Any]:
        """Columns of the record that was made with `link`; the next one follows it."""
        number, previous = self.link(tenant)
        record_hash = hash_of(body)
        self._ends[tenant] = Link(number + 1, record_hash)
        return {"chain_no": number, "previous_hash": previous, "record_hash": record_hash}


def read(connection: psycopg.Connection, names: Names, tenants: Iterable[str]) -> Chain:
    """The chains of these tenants as they are; in a transaction that holds the lock of the ledger."""
    statement = sql.SQL(_HEADS).format(schema=sql.Identifier(names.billing_schema))
    rows = connection.execute(statement, [sorted(set(tenants))]).fetchall()
    return Chain({tenant: Link(number + 1, record_hash) for tenant, number, record_hash in rows})
