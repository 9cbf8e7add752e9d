"""Which run's alerts about limits are taken, before, at and after a promotion."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.alerts.alerting import TEN, an_alert
from tidemark.alerts.active_runs import OVERLAP_MS, ActiveReplay, is_taken, version_at

HOUR = 3_600_000
# |---- r: rebuilding ----| caught up |---- r active ---->|---- s active for acme ---->
CAUGHT_UP, R, S = TEN, TEN + HOUR, TEN + 2 * HOUR
REPLAYS = [ActiveReplay("r", (), R, CAUGHT_UP), ActiveReplay("s", ("acme",), S, CAUGHT_UP)]


def taken(at_ms: int, tenant: str = "acme", kind: str = "limit.exceeded") -> list[str]:
    alert = replace(an_alert("c", at_ms=at_ms), tenant_id=tenant, type=kind)
    return [run_id or "live" for run_id in ("", "r", "s") if is_taken(REPLAYS, "", run_id, alert)]


@pytest.mark.parametrize(
    ("at_ms", "runs"),
    [
        (CAUGHT_UP - 1, ["live"]),
        (R - OVERLAP_MS - 1, ["live"]),
        # Both may have seen one crossing around the promotion: it is taken from each, and stored once.
        (R - OVERLAP_MS, ["live", "r"]),
        (R - 1, ["live", "r"]),
        (R, ["r"]),
        (S - 1, ["r", "s"]),
        (S, ["s"]),
    ],
)
def test_alerts_of_the_active_version_are_taken(at_ms: int, runs: list[str]) -> None:
    assert taken(at_ms) == runs


def test_a_tenant_that_a_replay_does_not_hold_stays_with_the_one_below() -> None:
    assert taken(S, tenant="globex") == ["r"]
    assert [version_at(REPLAYS, "", tenant, S) for tenant in ("acme", "globex", None)] == ["s", "r", "r"]


@pytest.mark.parametrize("kind", ["pipeline.live_counters", "anomaly.volume", "watch.hourly"])
def test_all_but_limits_are_taken_from_the_run_of_the_ledger(kind: str) -> None:
    assert taken(S, kind=kind) == ["live"]


def test_alerts_of_a_replay_that_was_rebuilding_are_never_taken() -> None:
    # Promoted as soon as it had caught up.
    alert = an_alert("c", at_ms=TEN - 1)
    assert not is_taken([ActiveReplay("r", (), TEN, TEN)], "", "r", alert)
    assert is_taken([ActiveReplay("r", (), TEN, TEN - 1)], "", "r", alert)


active_replays = st.builds(
    ActiveReplay,
    st.sampled_from("rs"),
    st.sampled_from([(), ("acme",), ("globex",)]),
    st.integers(TEN, TEN + HOUR),
    st.just(0),
)


@given(
    st.lists(active_replays, max_size=3, unique_by=lambda replay: replay.run_id),
    st.integers(TEN - HOUR, TEN + 2 * HOUR),
)
def test_alerts_of_some_run_are_always_taken(replays: list[ActiveReplay], at_ms: int) -> None:
    runs = ["", *(replay.run_id for replay in replays)]
    heard = [
        run_id
        for run_id in runs
        if is_taken(replays, "", run_id, replace(an_alert("c", at_ms=at_ms), tenant_id="acme"))
    ]
    assert 1 <= len(heard) <= 2
