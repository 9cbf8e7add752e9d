"""Shared by the tests of the reader: a counter, what Redis replies, and the instants they speak of."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tidemark_client.decision import ALLOWS, Decision, decide
from tidemark_client.evaluate import Judge
from tidemark_client.layout import COUNTER_FIELDS
from tidemark_client.stored import Counter, Limit, Stored

# |---- January ----|---- February ----|; now is the tenth of January.
JAN, NOW, FEB = 1_767_225_600_000, 1_768_003_200_000, 1_769_904_000_000
SECOND = 1_000
UNKNOWN = tuple(reason for reason, allows in ALLOWS.items() if allows is None)


def counter(used: str = "4", cap: str | None = "10", mode: Any = "hard", **changes: Any) -> Counter:
    limit = None if cap is None else Limit(Decimal(cap), mode, "plan/pro@0")
    return Counter(**{"start_ms": JAN, "end_ms": FEB, "used": Decimal(used), "limit": limit, "exhausted_at_ms": None}
                   | changes)  # fmt: skip


def stored(counter: Counter | None, **changes: Any) -> Stored:
    return Stored(**{"counter": counter, "suspension": None, "default": None, "rebuilt": True,
                     "heartbeat_ms": NOW - SECOND} | changes)  # fmt: skip


def decided(held: Stored, wanted: str = "1", **changes: Any) -> Decision:
    return decide(held, Decimal(wanted), **{"policy": "fail_open", "now_ms": NOW, "max_age_s": 60.0} | changes)


def judge(**changes: Any) -> Judge:
    return Judge(**{"prefix": "usage:", "on_unknown": "fail_open", "max_age_s": 60.0, "remembered": 100,
                    "wall_clock": lambda: NOW / 1_000} | changes)  # fmt: skip


def replies(fields: dict[str, str] | None = None, *, suspension: Any = None, default: Any = None, marker: Any = "r1",
            heartbeat: Any = str(NOW), switch: Any = None) -> list[Any]:  # fmt: skip
    counter = [(fields or {}).get(name) for name in COUNTER_FIELDS]
    return [suspension or {}, counter, default, [marker, heartbeat, switch]]


FULL = {
    "period_start": str(JAN), "period_end": str(FEB), "total": "4.5", "limit": "10", "mode": "hard",
    "on_unknown": "fail_closed", "rule": "customer/c@0", "projected_exhaustion_at": str(NOW + SECOND), "revision": "7",
}  # fmt: skip
ASK = judge().question("t", "c", "m", 1)
