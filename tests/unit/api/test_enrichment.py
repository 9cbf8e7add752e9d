"""Enrichment by declared rules: what an event states stands unless the rule says otherwise."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from tests.unit.api.test_admission import CLOUD, NATIVE, NOW_MS, TOLERANCE_MS
from tidemark.api.admission import Admitted, admit
from tidemark.api.enrichment import additions, enriched
from tidemark.api.keys import StoredKey
from tidemark.api.problem import Problem
from tidemark.core.settings import EnrichRule
from udfs.events.parse import parse
from udfs.meters.paths import path_of

KEY = StoredKey("k-id", "acme", "checkout", frozenset({"ingest"}), b"")
REGION = EnrichRule(property="region", header="X-Region")
SERVICE = EnrichRule(property="service", key="name", overwrite=True)


def seen(event: dict[str, object], *rules: EnrichRule, name: str = "region", **headers: str) -> bytes | None:
    """What a meter finds in an event that was enriched."""
    value = enriched(json.dumps(event).encode(), additions(rules, headers, KEY))
    return path_of(name).find(parse(value, "acme", NOW_MS))


@pytest.mark.parametrize("event", [{**NATIVE, "tenant_id": "acme"}, CLOUD], ids=["native", "cloudevent"])
def test_a_meter_finds_what_a_rule_adds(event):
    assert seen(event, REGION, **{"x-region": "eu"}) == b'"eu"'
    assert seen(event, SERVICE, name="service") == b'"checkout"'


@pytest.mark.parametrize(
    "stated",
    [
        {**NATIVE, "tenant_id": "acme", "region": "us"},
        {**NATIVE, "tenant_id": "acme", "properties": {"region": "us"}},
        {**CLOUD, "data": {"region": "us"}},
    ],
)
def test_what_an_event_states_stands_unless_the_rule_says_otherwise(stated):
    assert seen(stated, REGION, **{"x-region": "eu"}) == b'"us"'
    over = REGION.model_copy(update={"overwrite": True})
    assert seen(stated, over, **{"x-region": "eu"}) == b'"eu"'
    # Without a value there is nothing to overwrite with.
    assert seen(stated, over) == b'"us"'


def test_a_null_property_is_a_statement_and_a_null_field_says_nothing():
    assert seen({**NATIVE, "tenant_id": "acme", "properties": {"region": None}}, REGION, **{"x-region": "eu"}) is None
    assert seen({**NATIVE, "tenant_id": "acme", "region": None}, REGION, **{"x-region": "eu"}) == b'"eu"'


def test_an_event_that_gets_nothing_keeps_its_bytes():
    raw = b' {"tenant_id" : "acme",  "region":"us", ' + json.dumps(NATIVE).encode()[1:]
    assert enriched(raw, additions([REGION], {"x-region": "eu"}, KEY)) == raw


def test_the_first_rule_with_a_value_decides_and_rules_are_of_tenants():
    fallback = EnrichRule(property="region", key="id")
    foreign = EnrichRule(property="region", key="name", tenants=("other",))
    assert [bytes(one.value) for one in additions([foreign, REGION, fallback], {}, KEY)] == [b'"k-id"']
    assert [bytes(one.value) for one in additions([REGION, fallback], {"x-region": "eu"}, KEY)] == [b'"eu"']


def test_a_header_that_is_no_text_is_refused():
    for text in ("a\u202eb", "x" * 257):
        with pytest.raises(Problem) as refused:
            additions([REGION], {"x-region": text}, KEY)
        assert refused.value.code == "malformed_header"


def admitted(*events: object) -> Admitted:
    added = additions([REGION], {"x-region": "eu" * 100}, KEY)
    return admit([json.dumps(event).encode() for event in events], "acme", NOW_MS, TOLERANCE_MS, added)


def test_events_that_are_faulty_or_come_to_be_too_large_are_rejected_with_their_reason():
    large = {**NATIVE, "properties": {"x": "y" * (65_536 - 200)}}
    assert [one.reason for one in admitted(NATIVE, large, {"event_id": "e"}).outcomes] == [
        None, "event_too_large", "missing_field",
    ]  # fmt: skip
    twice = json.dumps(NATIVE)[:-1] + ', "region": "a", "region": "b"}'
    added = additions([REGION], {"x-region": "eu"}, KEY)
    (outcome,) = admit([twice.encode()], "acme", NOW_MS, TOLERANCE_MS, added).outcomes
    assert outcome.status == "rejected"


@pytest.mark.parametrize(
    "rule",
    [{"property": "a"}, {"property": "a", "header": "x", "key": "id"}, {"property": "", "header": "x"},
     {"property": "a", "header": "Authorization"}, {"property": "a", "header": "no header"}],
)  # fmt: skip
def test_a_rule_without_one_source_or_with_a_secret_is_refused(rule):
    with pytest.raises(ValidationError):
        EnrichRule(**rule)
