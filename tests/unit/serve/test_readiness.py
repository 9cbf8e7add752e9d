"""Readiness of roles: the worst service decides, a standby is ready and says so, a step that hangs is not."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.core.service import Health, State
from tidemark.serve.readiness import READY, STALLED_S, document, roles_of, stalled_after_s

NOW = 10_000.0


def health(service: str = "quotas", state: State = "running", role: str = "quotas", **more: object) -> Health:
    known = {"succeeded_at": NOW - 1, "every_s": 60.0, **more}
    return Health(role, service, state, **known)  # type: ignore[arg-type]


def test_a_role_that_runs_is_ready_and_gives_no_reason() -> None:
    (role,) = roles_of([health(runs=3, failures=2)], NOW)
    assert (role.ready, role.state, role.reason, role.runs, role.failures) == (True, "running", "", 3, 2)


def test_a_standby_is_ready_and_says_what_it_waits_for() -> None:
    (role,) = roles_of([health(state="standby", error="another `quotas` of usage is at work.")], NOW)
    assert (role.ready, role.state, role.reason) == (True, "standby", "another `quotas` of usage is at work.")


def test_the_worst_service_decides_and_is_named() -> None:
    services = [
        health("counters", role="live"),
        health("limits", "failing", role="live", failures_in_row=3, error="Postgres at db cannot be used"),
        health("heartbeat", "starting", role="live", succeeded_at=None),
    ]
    (role,) = roles_of(services, NOW)
    assert (role.ready, role.state) == (False, "failing")
    assert role.reason == "limits: failed 3 times in a row: Postgres at db cannot be used"
    assert role.succeeded_at is None


def test_a_role_that_has_never_succeeded_is_not_ready() -> None:
    (role,) = roles_of([health(state="starting", succeeded_at=None, begun_at=NOW - 5)], NOW)
    assert (role.ready, role.reason) == (False, "no step has succeeded yet")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"begun_at": NOW - STALLED_S - 181}, "a step has taken 1081 s, over 1080 s"),
        ({"succeeded_at": NOW - STALLED_S - 181}, "no step has succeeded for 1081 s, over 1080 s"),
    ],
)
def test_a_step_that_hangs_makes_its_role_stalled(more: dict[str, float], reason: str) -> None:
    (role,) = roles_of([health(**more)], NOW)
    assert (role.ready, role.state, role.reason) == (False, "stalled", reason)


def test_a_daily_service_is_not_stalled_between_two_steps() -> None:
    (role,) = roles_of([health(every_s=86_400.0, succeeded_at=NOW - 86_000)], NOW)
    assert role.ready
    assert stalled_after_s(86_400) == STALLED_S + 3 * 86_400


def test_the_document_names_every_role_and_is_ready_when_all_are() -> None:
    roles = roles_of([health(), health("close", "failing", role="close", failures_in_row=1, error="no")], NOW)
    assert document(roles) == {
        "ready": False,
        "roles": {
            "quotas": {"ready": True, "state": "running", "reason": ""},
            "close": {"ready": False, "state": "failing", "reason": "failed once: no"},
        },
    }
    assert document(roles[:1])["ready"] is True


@given(st.lists(st.sampled_from(get_args(State)), min_size=1, max_size=5))
def test_a_role_is_ready_exactly_when_all_of_its_services_are(states: list[State]) -> None:
    (role,) = roles_of([health(str(number), state) for number, state in enumerate(states)], NOW)
    assert role.ready == (set(states) <= READY)
    # A role of which one service works is not a standby.
    assert (role.state == "standby") == (set(states) == {"standby"})
