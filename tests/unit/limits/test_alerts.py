"""Alerts of limits: each one fits the contract, is read back as it was, and its condition has one name."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import schemas
from tests.unit.limits.limit_parts import CUSTOMER, FEB, JAN, METER, NOW_MS, PAIR, TENANT, Limits, counter, limit
from tests.unit.strategies import ids
from udfs.alerts.event import Alert, AlertError, fingerprint, parse, to_json, without_id
from udfs.alerts.pipeline import live_counters
from udfs.limits.alerts import alert_of, condition, per_hour
from udfs.limits.packing import packed_candidates
from udfs.limits.rule import Limit
from udfs.limits.status import crossings, ended
from udfs.limits.watch import LimitWatch
from udfs.values import epoch_ms, parse_rfc3339, rfc3339
from udfs.wire import CANDIDATE

VALIDATOR = Draft202012Validator(schemas.topic_schema("usage.alerts"))
totals = st.decimals(-1_000, 10**29 - 1, places=9, allow_nan=False, allow_infinity=False)
held_limits = st.builds(
    lambda cap, texts, mode, scope, begin_ms: limit(cap, *texts, mode=mode, scope=scope, valid_from_ms=begin_ms),
    st.decimals(0, 10**29 - 1, places=9),
    st.lists(st.sampled_from(["80%", "0.5", "every 33%"]), unique=True),
    st.sampled_from(["hard", "soft"]),
    st.sampled_from(["tenant", "plan", "customer"]),
    st.sampled_from([-(2**63), 0, JAN, 253_402_300_799_999]),
)


def alerts_of(held: Limit, before: Any, total: Any, **more: Any) -> list[Alert]:
    """Alerts of a change, without more evidence than every alert has."""
    whose = counter(**{"at_ms": JAN + 3_600_000, **more})
    found = crossings(held, Decimal(before), Decimal(total)) or ended(held, Decimal(total))
    return [alert_of(one, whose, Decimal(total), why="usage", seen_ms=NOW_MS, evidence={}) for one in found]


@given(held_limits, totals, totals, ids, ids, st.integers(JAN - 10, FEB))
def test_every_alert_fits_the_schema_and_is_read_as_it_was_written(
    held: Limit, before: Decimal, total: Decimal, tenant: str, customer: str, at_ms: int
) -> None:
    for one in alerts_of(held, before, total, tenant=tenant, customer=customer, at_ms=at_ms):
        alert = replace(one, id="0" * 32)
        text = to_json(alert)
        assert [error.message for error in VALIDATOR.iter_errors(json.loads(text))] == []
        assert parse(text) == alert
        assert parse(text.encode()) == alert


@given(held_limits, totals, ids, st.text(max_size=20))
def test_an_id_in_front_of_the_rest_makes_the_whole_alert(held: Limit, total: Decimal, tenant: str, name: str) -> None:
    for one in alerts_of(held, 0, total, tenant=tenant):
        for alert in (one, replace(one, id=name)):
            assert '{"id":' + json.dumps(alert.id, ensure_ascii=False) + "," + without_id(alert) == to_json(alert)


def test_alerts_of_a_watch_fit_the_schema_with_all_their_evidence() -> None:
    watch = LimitWatch(Limits([limit(100, "80%", "every 10", mode="hard")]).book(), lambda: NOW_MS)
    watch.prepare([PAIR])
    found: list[Alert] = []
    for step in range(130):
        at_ms = JAN + step * 60_000
        found += watch.see(counter(at_ms), Decimal(step), Decimal(step + 1), f'{{"dest":"{step % 7}"}}')[1]
    assert [
        error.message for one in found for error in VALIDATOR.iter_errors(json.loads(to_json(replace(one, id="x"))))
    ] == []
    (capped,) = [one for one in found if one.type == "limit.exceeded"]
    assert (capped.severity, capped.value, capped.threshold, capped.period_ms) == ("critical", "100", "100", (JAN, FEB))
    assert capped.rule == f"customer:{CUSTOMER}:{METER}"
    assert (capped.rule_version or "").startswith("beginning-")
    assert len(capped.evidence["top_dimensions"]) == 5
    (most,) = [one for one in found if one.threshold == "80" and one.type == "limit.threshold"][:1]
    assert most.evidence["projected_exhaustion_at"] == rfc3339(JAN + 79 * 60_000 * 100 // 80)


@pytest.mark.parametrize(
    ("mode", "kinds"),
    [
        ("hard", [("limit.threshold", "firing", "info"), ("limit.exceeded", "firing", "critical")]),
        ("soft", [("limit.threshold", "firing", "info"), ("limit.exceeded", "firing", "warning")]),
    ],
)
def test_kind_status_and_severity_follow_from_what_is_crossed(mode: str, kinds: list[tuple[str, str, str]]) -> None:
    held = limit(100, "80%", mode=mode)
    up, down = alerts_of(held, 0, 100), alerts_of(held, 100, 0)
    assert [(one.type, one.status, one.severity) for one in up] == kinds
    assert {(one.type, one.status) for one in down} == {("limit.resolved", "resolved")}
    assert [one.fingerprint for one in up] == [one.fingerprint for one in reversed(down)]


def test_a_condition_has_a_name_of_its_own_by_customer_meter_period_version_and_amount() -> None:
    held = limit(100, "80%", "80", "every 40")
    others = [
        *alerts_of(held, 0, 100),
        *alerts_of(held, 0, 50, customer="AA")[:1],
        *alerts_of(held, 0, 50, tenant="JFK")[:1],
        *alerts_of(held, 0, 50, meter="seats")[:1],
        *alerts_of(held, 0, 50, period_start_ms=JAN - 1)[:1],
        *alerts_of(replace(held, valid_from_ms=1), 0, 50)[:1],
        *alerts_of(limit(100, "every 40", scope="tenant"), 0, 50),
        *alerts_of(limit(100, "every 40", scope="plan"), 0, 50),
    ]
    assert len({one.fingerprint for one in others}) == len(others) == 12


def test_the_end_of_the_period_is_no_part_of_the_condition() -> None:
    (crossing,) = crossings(limit(100), Decimal(0), Decimal(100))
    assert condition(crossing, counter()) == condition(crossing, counter(period_end_ms=FEB - 1, at_ms=JAN + 9))


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_other_parts_have_another_fingerprint(left: list[str], right: list[str]) -> None:
    assert (fingerprint(*left) == fingerprint(*right)) == (left == right)


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_an_instant_keeps_its_millisecond(at_ms: int) -> None:
    assert epoch_ms(parse_rfc3339(rfc3339(at_ms))) == at_ms
    assert rfc3339(at_ms).endswith("Z")


def test_an_instant_far_ahead_is_not_rounded() -> None:
    assert rfc3339(253_402_300_799_999) == "9999-12-31T23:59:59.999Z"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", '{"id":"1"}', to_json(live_counters("firing", at_ms=0, evidence={})).replace("Z", "")],
)
def test_what_is_no_alert_is_refused(text: str) -> None:
    with pytest.raises(AlertError, match="no alert"):
        parse(text)


def test_a_rate_has_six_decimals_at_most() -> None:
    assert [per_hour(Decimal(used), 3_600_000 * hours) for used, hours in [(1, 3), (2, 3), (-1, 3), (5, 1)]] == [
        "0.333333", "0.666667", "-0.333333", "5",
    ]  # fmt: skip


def test_candidates_travel_in_one_text_and_are_taken_apart_by_their_separators() -> None:
    found = alerts_of(limit(100, "80%"), 0, 100)
    pipeline = live_counters("firing", at_ms=0, evidence={"detail": "x\x1e\x1fy"})
    packed = packed_candidates([*found, pipeline])
    assert packed is not None
    rows = [list(candidate) for candidate in CANDIDATE.split(packed)]
    assert [row[:3] for row in rows] == [
        *([one.fingerprint, "firing", TENANT] for one in found), [pipeline.fingerprint, "firing", ""],
    ]  # fmt: skip
    assert [parse(f'{{"id":"one",{row[3]}').fingerprint for row in rows] == [row[0] for row in rows]


def test_no_candidates_are_null() -> None:
    assert packed_candidates([]) is None


def test_the_runbook_of_every_alert_about_a_limit_is_a_heading_of_its_page() -> None:
    pages = {one.runbook for one in alerts_of(limit(10, "80%"), 0, 20)}
    assert len(pages) == 2
    for runbook in pages:
        page, _, anchor = runbook.partition("#")
        headings = re.findall(r"^#+ (.+)$", (Path(__file__).parents[3] / page).read_text(), re.MULTILINE)
        assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    ("stated", "before", "total", "summary"),
    [
        ("50%", 0, 10_257, "10257 calls used, reached the threshold of 10000 (50% of the cap 20000)."),
        ("5000", 0, 5_000, "5000 calls used, reached the threshold of 5000 (the cap is 20000)."),
        ("every 3000", 3_000, 6_500, "6500 calls used, reached the threshold of 6000 (every 3000; the cap is 20000)."),
        ("every 25%", 0, 5_000, "5000 calls used, reached the threshold of 5000 (every 25% of the cap 20000)."),
        ("50%", 10_001, 20_001, "20001 calls used, reached its cap of 20000."),
        ("50%", 20_001, 19_999, "19999 calls used, below its cap of 20000 again."),
        ("50%", 10_001, 9_999, "9999 calls used, below the threshold of 10000 (50% of the cap 20000) again."),
    ],
)
def test_a_summary_says_what_was_used_and_which_amount_of_what_was_crossed(
    stated: str, before: int, total: int, summary: str
) -> None:
    [alert] = alerts_of(limit(20_000, stated), before, total)
    assert alert.summary == f"{CUSTOMER} of {TENANT}: {summary.replace('calls', METER)}"


def test_a_summary_says_when_it_is_the_limit_that_changed() -> None:
    held, whose = limit(20_000, "50%"), counter(JAN + 3_600_000)
    [firing] = crossings(held, Decimal(0), Decimal(10_257))
    gone = replace(firing, status="resolved")
    texts = [
        alert_of(one, whose, Decimal(10_257), why="rule", seen_ms=NOW_MS, evidence={}).summary for one in (firing, gone)
    ]
    assert texts[0].endswith("reached the threshold of 10000 (50% of the cap 20000) since the limit changed.")
    assert texts[1].endswith(f": the threshold of 10000 (50% of the cap 20000) of {METER} no longer holds.")
