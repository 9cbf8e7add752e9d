"""Whose alerts about limits people get, before, at and after a promotion."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.alerts.alerting import TEN, an_alert
from tidemark.alerts.active_runs import OVERLAP_MS, Stand, is_taken, version_at

HOUR = 3_600_000
# |---- r: rebuilding ----| level |---- r stands ---->|---- s stands for acme ---->
LEVEL, R, S = TEN, TEN + HOUR, TEN + 2 * HOUR
STANDS = [Stand("r", (), R, LEVEL), Stand("s", ("acme",), S, LEVEL)]


def taken(at_ms: int, tenant: str = "acme", kind: str = "limit.exceeded") -> list[str]:
    alert = replace(an_alert("c", at_ms=at_ms), tenant_id=tenant, type=kind)
    return [run_id or "live" for run_id in ("", "r", "s") if is_taken(STANDS, "", run_id, alert)]


@pytest.mark.parametrize(
    ("at_ms", "runs"),
    [
        (LEVEL - 1, ["live"]),
        (R - OVERLAP_MS - 1, ["live"]),
        # Both may have seen one crossing around the promotion: it is taken from each, and told once.
        (R - OVERLAP_MS, ["live", "r"]),
        (R - 1, ["live", "r"]),
        (R, ["r"]),
        (S - 1, ["r", "s"]),
        (S, ["s"]),
    ],
)
def test_the_version_that_people_read_is_heard(at_ms: int, runs: list[str]) -> None:
    assert taken(at_ms) == runs


def test_a_tenant_that_a_replay_does_not_hold_stays_with_the_one_below() -> None:
    assert taken(S, tenant="globex") == ["r"]
    assert [version_at(STANDS, "", tenant, S) for tenant in ("acme", "globex", None)] == ["s", "r", "r"]


@pytest.mark.parametrize("kind", ["pipeline.live_counters", "anomaly.volume", "watch.hourly"])
def test_of_anything_but_limits_the_run_of_the_ledger_speaks(kind: str) -> None:
    assert taken(S, kind=kind) == ["live"]


def test_what_a_replay_said_while_it_was_rebuilding_is_never_told() -> None:
    # Promoted as soon as it was level.
    alert = an_alert("c", at_ms=TEN - 1)
    assert not is_taken([Stand("r", (), TEN, TEN)], "", "r", alert)
    assert is_taken([Stand("r", (), TEN, TEN - 1)], "", "r", alert)


stands = st.builds(
    Stand,
    st.sampled_from("rs"),
    st.sampled_from([(), ("acme",), ("globex",)]),
    st.integers(TEN, TEN + HOUR),
    st.just(0),
)


@given(st.lists(stands, max_size=3, unique_by=lambda one: one.run_id), st.integers(TEN - HOUR, TEN + 2 * HOUR))
def test_there_is_always_a_run_that_is_heard(some: list[Stand], at_ms: int) -> None:
    runs = ["", *(one.run_id for one in some)]
    heard = [
        run_id for run_id in runs if is_taken(some, "", run_id, replace(an_alert("c", at_ms=at_ms), tenant_id="acme"))
    ]
    assert 1 <= len(heard) <= 2
