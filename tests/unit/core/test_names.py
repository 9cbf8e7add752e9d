"""Names of runs and of their replays: no two have one, and none is longer than a schema of Postgres may be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.core.errors import UsageError
from tidemark.core.names import Names

WORDS = st.from_regex(r"[a-z][a-z0-9_]{0,33}", fullmatch=True)
POSTGRES_MOST = 63


def valid(run_id: str) -> bool:
    try:
        Names(run_id)
    except UsageError:
        return False
    return True


def replay_of(run_id: str, replay_id: str) -> str | None:
    try:
        return Names(run_id).replay(replay_id)
    except UsageError:
        return None


@given(WORDS | st.just(""), WORDS, WORDS | st.just(""), WORDS)
def test_replays_and_runs_are_apart(run_id: str, replay_id: str, other_run: str, other_id: str) -> None:
    name = replay_of(run_id, replay_id)
    if name is None:
        return
    assert Names(name).is_replay
    assert Names(name).run_id == name
    # A run that is no replay cannot be called like one; nor can another replay.
    if valid(other_run) and not Names(other_run).is_replay:
        assert other_run != name
    if (other_run, other_id) != (run_id, replay_id):
        assert replay_of(other_run, other_id) != name
    assert len(f"catalog_{name}") <= POSTGRES_MOST


def test_a_replay_of_the_live_run_is_apart_from_a_run_of_that_id() -> None:
    assert Names().replay("trial") == "replay__trial"
    assert Names("trial").usage_schema == "usage_trial"
    assert Names("a").replay("b") != Names("a_b").run_id


@pytest.mark.parametrize("run_id", ["replay", "a__b__c", "Trial", "a_", "a___b", "_a", "a" * 32])
def test_what_is_no_run_id_is_refused(run_id: str) -> None:
    with pytest.raises(UsageError, match="is not a lower-case identifier"):
        Names(run_id)


@pytest.mark.parametrize("replay_id", ["", "Fix", "a__b", "a_", "_a", "1", "a" * 23, "a;b"])
def test_what_is_no_replay_id_is_refused(replay_id: str) -> None:
    with pytest.raises(UsageError, match="replay id"):
        Names().replay(replay_id)
