"""The acting instance killed or cut off: the standby takes over; a stop is in time wherever it comes."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack

import pytest

from jobs.flink.rest import wait_until
from tests.chaos.roles.world import ROLES, Serve, World, note
from tests.integration.serve.test_serve import STOP_S

pytestmark = pytest.mark.drill

# Of which one instance holds a claim all the time; the other roles share their work, or hold it while they work.
CLAIMED = {"quotas", "alerts", "respond", "health"}
WITHIN_S = 180.0


def states(serve: Serve) -> dict[str, str]:
    return {role: one["state"] for role, one in serve.readyz().items()}


def all_act(serve: Serve) -> bool:
    found = states(serve)
    return set(found) == set(ROLES) and set(found.values()) == {"running"}


def test_a_standby_takes_over_every_role_of_a_killed_instance(here: World) -> None:
    with here.serving() as acting:
        wait_until(lambda: all_act(acting), WITHIN_S, "all roles to act")
        with here.serving() as standby:
            wait_until(
                lambda: {role for role, state in states(standby).items() if state == "standby"} >= CLAIMED, WITHIN_S,
                "the standby",
            )  # fmt: skip
            before, case = standby.runs(), here.case()
            here.send(case)
            begin = time.monotonic()
            acting.served.process.kill()
            waiting = set(ROLES)

            def taken_over() -> bool:
                after, now = standby.runs(), states(standby)
                done = {one for one in waiting if now[one] == "running" and after[one] > before[one]}
                for role in done:
                    note("killed", "kill -9", role, "taken over", f"{time.monotonic() - begin:.1f}")
                waiting.difference_update(done)
                return not waiting

            wait_until(taken_over, WITHIN_S, f"{waiting} to be taken over")
            here.wait_done(case, WITHIN_S)
            here.assert_exact()


def test_a_process_for_each_role_does_what_one_for_all_does(here: World) -> None:
    with ExitStack() as processes:
        alone = {role: processes.enter_context(here.serving(role)) for role in ROLES}
        for role, serve in alone.items():
            wait_until(lambda serve=serve, role=role: states(serve) == {role: "running"}, WITHIN_S, f"{role} alone")  # type: ignore[misc]
        case = here.case()
        here.send(case)
        here.wait_done(case, WITHIN_S)
        here.assert_exact()
        note("alone", "a process a role", "all", "ok")


@pytest.mark.parametrize("service", ["postgres", "redis", "kafka"])
def test_a_stop_in_a_black_hole_is_in_time(here: World, service: str) -> None:
    with here.serving() as serve:
        wait_until(lambda: set(states(serve).values()) == {"running"}, WITHIN_S, "all roles to act")
        with here.proxies[service].under("black_hole"):
            # Some steps have failed by then, and others hang.
            wait_until(lambda: "failing" in states(serve).values(), WITHIN_S, "a role to fail")
            took_s = serve.served.stop()
        assert took_s < STOP_S
        note("stopped", f"black hole of {service}", "all", "ok", f"{took_s:.1f}")


def test_a_second_interrupt_in_a_black_hole_ends_it_at_once(here: World) -> None:
    with here.serving() as serve:
        wait_until(lambda: set(states(serve).values()) == {"running"}, WITHIN_S, "all roles to act")
        with here.proxies["postgres"].under("black_hole"):
            wait_until(lambda: "failing" in states(serve).values(), WITHIN_S, "a role to fail")
            process = serve.served.process
            process.send_signal(signal.SIGINT)
            wait_until(lambda: bool(serve.served.log.read_text().count('"stopping"')), WITHIN_S, "the stop")
            begin = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.wait(WITHIN_S) == 130
            note("interrupted", "twice", "all", "ok", f"{time.monotonic() - begin:.1f}")
