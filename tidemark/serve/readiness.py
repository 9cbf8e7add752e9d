"""Whether roles are ready, from how their services do: pure, with the reason in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tidemark.core.service import Health

RoleState = Literal["running", "standby", "starting", "stalled", "failing", "stopped"]

# A standby is ready: it does what it should, and takes over by itself.
READY: frozenset[RoleState] = frozenset({"running", "standby"})
# The state of a role is the worst of its services, the last of these.
_SEVERITY: tuple[RoleState, ...] = ("standby", "running", "starting", "stopped", "stalled", "failing")
# A step may drain jobs for 5 min and then index; one that takes longer than this and three intervals hangs.
STALLED_S = 900.0


@dataclass(frozen=True, slots=True)
class RoleHealth:
    """How a role does in this process.

    Parameters
    ----------
    role, state:
        Which role, and the worst state of its services.
    reason:
        Why it is not ready, or what a standby waits for; empty for a role that runs.
    succeeded_at:
        Epoch seconds of the last success of the service whose last success is oldest; None before its first.
    runs, failures:
        Steps of all its services that succeeded and that failed.
    """

    role: str
    state: RoleState
    reason: str
    succeeded_at: float | None
    runs: int
    failures: int

    @property
    def ready(self) -> bool:
        """Whether it does what it should."""
        return self.state in READY


def roles_of(services: Iterable[Health], now: float) -> list[RoleHealth]:
    """The health of each role, in the order of their first services; `now` in epoch seconds."""
    of_role: dict[str, list[Health]] = {}
    for service in services:
        of_role.setdefault(service.role, []).append(service)
    return [_role(role, many, now) for role, many in of_role.items()]


def document(roles: Sequence[RoleHealth]) -> dict[str, Any]:
    """What /readyz answers: whether all roles are ready, and each with its state and reason."""
    return {
        "ready": all(role.ready for role in roles),
        "roles": {role.role: {"ready": role.ready, "state": role.state, "reason": role.reason} for role in roles},
    }


def stalled_after_s(every_s: float) -> float:
    """How long a step may take, or be missing, before its service counts as stalled."""
    return STALLED_S + 3 * every_s


def state_of(service: Health, now: float) -> tuple[RoleState, str]:
    """State of a service, which may be stalled, and the reason."""
    limit_s = stalled_after_s(service.every_s)
    if service.begun_at is not None and now - service.begun_at > limit_s:
        return "stalled", f"a step has taken {now - service.begun_at:.0f} s, over {limit_s:.0f} s"
    if service.state == "running" and service.succeeded_at is not None and now - service.succeeded_at > limit_s:
        return "stalled", f"no step has succeeded for {now - service.succeeded_at:.0f} s, over {limit_s:.0f} s"
    if service.state == "failing":
        times = "once" if service.failures_in_row == 1 else f"{service.failures_in_row} times in a row"
        return "failing", f"failed {times}: {service.error}"
    if service.state == "starting":
        return "starting", "no step has succeeded yet"
    return service.state, service.error


def _role(role: str, services: Sequence[Health], now: float) -> RoleHealth:
    states = [(service.service, *state_of(service, now)) for service in services]
    worst = max((state for _, state, _ in states), key=_SEVERITY.index)
    reasons = [f"{name}: {reason}" if len(services) > 1 else reason for name, state, reason in states
               if state == worst and reason]  # fmt: skip
    successes = [service.succeeded_at for service in services]
    known = [at for at in successes if at is not None]
    return RoleHealth(
        role=role,
        state=worst,
        reason="; ".join(reasons),
        succeeded_at=min(known) if len(known) == len(successes) else None,
        runs=sum(service.runs for service in services),
        failures=sum(service.failures for service in services),
    )
