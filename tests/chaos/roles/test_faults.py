"""Each fault of each service under all roles: they say so, none dies, work goes on after it, nothing lost or double."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import get_args

import pytest

from jobs.flink.rest import wait_until
from tests.chaos.roles.world import ROLES, Case, Serve, World, note
from tests.toxics import Fault
from tidemark.core.errors import UnavailableError

pytestmark = pytest.mark.drill

# Roles that cannot take a step without the service; a receiver that fails is a matter of its notifications.
DEPENDS = {
    "postgres": ROLES,
    "redis": ("live", "respond", "reconcile"),
    "kafka": ("live", "alerts", "respond", "close", "reconcile", "archive", "retention"),
    "receiver": (),
}
# A reader of Kafka gives up after a minute without progress, and a retry may be 15 s away.
SEEN_WITHIN_S = 180.0
DONE_WITHIN_S = 300.0


@pytest.fixture(scope="module")
def serve(here: World) -> Iterator[Serve]:
    with here.serving() as served:
        wait_until(lambda: ready(served) == set(ROLES), DONE_WITHIN_S, "all roles to be ready")
        yield served


def ready(serve: Serve) -> set[str]:
    return {role for role, one in serve.readyz().items() if one["ready"]}


def reasons(serve: Serve, roles: tuple[str, ...], seen: dict[str, tuple[str, float]], begin: float) -> bool:
    """Whether all of these roles have been seen unready; adds each with its reason and after how long."""
    for role, one in serve.readyz().items():
        if role in roles and not one["ready"] and role not in seen:
            seen[role] = one["reason"], time.monotonic() - begin
    return set(seen) == set(roles)


def under_fault(here: World, serve: Serve, case: Case, service: str, fault: Fault) -> dict[str, tuple[str, float]]:
    """Wait for what must be seen while the fault lasts: work that goes on where it is slow, else each role's reason."""
    seen: dict[str, tuple[str, float]] = {}
    begin = time.monotonic()
    if fault == "slow":
        here.wait_done(case, DONE_WITHIN_S)
    elif service == "receiver":
        wait_until(lambda: bool(here.unanswered(case)), SEEN_WITHIN_S, "an attempt that failed")
    else:
        with suppress(UnavailableError):
            wait_until(lambda: reasons(serve, DEPENDS[service], seen, begin), SEEN_WITHIN_S, "roles to be unready")
        assert set(seen) == set(DEPENDS[service]), f"never unready: {set(DEPENDS[service]) - set(seen)}; {seen}"
    return seen


@pytest.mark.parametrize("fault", get_args(Fault))
@pytest.mark.parametrize("service", DEPENDS)
def test_roles_say_what_fails_and_go_on_after_it(here: World, serve: Serve, service: str, fault: Fault) -> None:
    case = here.case()
    with here.proxies[service].under(fault):
        here.send(case)
        seen = under_fault(here, serve, case, service, fault)
        assert serve.is_alive
    begin = time.monotonic()
    wait_until(lambda: ready(serve) == set(ROLES), DONE_WITHIN_S, "all roles to be ready again")
    back_s = time.monotonic() - begin
    here.wait_done(case, DONE_WITHIN_S)
    done_s = time.monotonic() - begin
    for role in ROLES:
        why, after_s = seen.get(role, ("ready", 0.0))
        note(service, fault, role, "ok", f"{after_s:.0f}", f"{back_s:.0f}", f"{done_s:.0f}", why[:160])
    here.assert_exact()
    assert here.open_drift() == []
    assert serve.is_alive
