"""The chain of the ledger: numbers of each tenant, and hashes of what is published."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from hashlib import sha256

from tests.unit.billing.ledger_parts import CONTEXT, PERIODS
from tidemark.billing.chain import BEGINNING, Chain, Link
from tidemark.billing.lines import Line, LineKey
from tidemark.billing.messages import close_message
from tidemark.billing.true_up import Close

CLOSE = Close(PERIODS[0], {LineKey("calls", ""): Line("sum", "calls", 2, 2, Decimal("1.5"))})


def test_each_record_has_the_hash_of_the_one_of_its_tenant_before_it() -> None:
    chain = Chain({"old": Link(8, "e" * 64)})
    first = close_message(CLOSE, CONTEXT, 0, chain.link("new"))
    columns = [chain.add("new", first), chain.add("old", "other"), chain.add("new", "second")]
    digest = sha256(first.encode()).hexdigest()
    assert columns[0] == {"chain_no": 1, "previous_hash": BEGINNING, "record_hash": digest}
    assert (columns[1]["chain_no"], columns[1]["previous_hash"]) == (8, "e" * 64)
    assert (columns[2]["chain_no"], columns[2]["previous_hash"]) == (2, digest)


def test_a_record_says_where_it_is_in_the_chain_and_is_otherwise_as_before() -> None:
    plain, chained = (json.loads(close_message(CLOSE, CONTEXT, 0, link)) for link in (None, Link(3, "a" * 64)))
    assert chained == {**plain, "chain_no": 3, "previous_hash": "a" * 64}


def test_the_order_of_offsets_does_not_change_a_record() -> None:
    offsets = {"b": {"2": 1, "10": 4}, "a": {}}
    turned = {"a": {}, "b": {"10": 4, "2": 1}}
    assert close_message(CLOSE, replace(CONTEXT, rests_on=offsets)) == close_message(
        CLOSE, replace(CONTEXT, rests_on=turned)
    )
