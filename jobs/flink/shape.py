"""Settings that shape the state of a job: state made with one value may not be restored with another unnoticed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tidemark.core.errors import UsageError

BOUNDED = "bounded"
# Recorded beside the settings: over how many subtasks Flink can spread the state.
MOST = "max_parallelism"
# Flink derives the most subtasks that state can be spread over from the parallelism it was first made with.
_LEAST_MAX_PARALLELISM, _GREATEST_MAX_PARALLELISM = 128, 32_768


def _differs(then: Any, now: Any) -> bool:
    return bool(then != now)


def _grew(then: Any, now: Any) -> bool:
    return bool(now > then)


def _shrank(then: Any, now: Any) -> bool:
    return bool(now < then)


def _goes_back_further(then: Any, now: Any) -> bool:
    """Of a length for which 0 says that there is no end to it."""
    return bool(then) and (not now or bool(now > then))


def max_parallelism(parallelism: int) -> int:
    """Most subtasks of state first made with a parallelism, as Flink's KeyGroupRangeAssignment derives it."""
    rounded = 1 << (parallelism + parallelism // 2 - 1).bit_length()
    return min(max(rounded, _LEAST_MAX_PARALLELISM), _GREATEST_MAX_PARALLELISM)


@dataclass(frozen=True, slots=True)
class Shaping:
    """One setting.

    Parameters
    ----------
    setting:
        Its name, or BOUNDED for whether the run has an end.
    why:
        What would become of the state.
    acceptable:
        Whether who submits may take that; otherwise Flink cannot restore the state at all.
    matters:
        Whether a change from the first value to the second one does it.
    """

    setting: str
    why: str
    acceptable: bool = True
    matters: Callable[[Any, Any], bool] = _differs


_OTHER_OPERATORS = "the job has other operators, and Flink finds no place for the state"
_MAX_PARALLELISM = "Flink spreads this state over fewer subtasks"
_KEYS = tuple(
    Shaping(name, "keys of events that may come again have expired: a copy would be counted twice", matters=_grew)
    for name in ("events.grace_s", "events.future_tolerance_s", "events.redrive_window_s", "events.outage_s")
)
_BUCKETS = tuple(
    Shaping(name, "totals that may change again have expired: they would begin at zero", matters=_grew)
    for name in ("events.grace_s", "events.future_tolerance_s", "events.redrive_window_s", "events.outage_s")
)
_TOTALS = Shaping(
    "flink.state_ttl_days", "totals of periods that go on would expire and begin at zero", matters=_shrank
)
_WINDOWS = "windows that were written would be written again in part, or events dropped as late"

SHAPING: Mapping[str, tuple[Shaping, ...]] = {
    "meter": (
        Shaping(BOUNDED, _OTHER_OPERATORS, acceptable=False),
        Shaping("topics.events", "it holds offsets of the other topic, which would be read on", acceptable=False),
        Shaping("meter.parallelism", _MAX_PARALLELISM, acceptable=False, matters=_grew),
        *_KEYS,
        _TOTALS,
    ),
    "rollup": (
        Shaping("rollup.customer_windows", _OTHER_OPERATORS, acceptable=False),
        Shaping("rollup.parallelism", _MAX_PARALLELISM, acceptable=False, matters=_grew),
        Shaping("rollup.sliding_disorder_s", _WINDOWS),
        Shaping(
            "rollup.sliding_history_s",
            "windows of which minutes were left out would be written with the rest of them",
            matters=_goes_back_further,
        ),
        *_BUCKETS,
        _TOTALS,
    ),
    "anomaly": (
        Shaping(BOUNDED, _OTHER_OPERATORS, acceptable=False),
        Shaping("anomaly.clock", _OTHER_OPERATORS, acceptable=False),
        Shaping("anomaly.parallelism", _MAX_PARALLELISM, acceptable=False, matters=_grew),
        Shaping("anomaly.disorder_s", _WINDOWS),
        Shaping("anomaly.zones", "it holds hours of the week of the other zones"),
        _TOTALS,
    ),
}


@dataclass(frozen=True, slots=True)
class Change:
    """A setting that had another value when the state was made."""

    shaping: Shaping
    then: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.shaping.setting} was {_text(self.then)} and is {_text(self.now)} now: {self.shaping.why}"


def changes(job: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """What differs so that it matters; a value that was not recorded is not compared."""
    return [
        Change(one, then[one.setting], now[one.setting])
        for one in SHAPING[job]
        if one.setting in then and one.matters(_bound(job, one, then), now[one.setting])
    ]


def most_parallelism(job: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> int:
    """Most subtasks of the state of a job for the life of that state: by what it was first submitted with.

    Parameters
    ----------
    job:
        Its name.
    then:
        What the state was made with; empty for a start without state.
    now:
        Values of the settings.
    """
    first: int = (then or now)[f"{job}.parallelism"]
    return int(then.get(MOST, max_parallelism(first)))


def _bound(job: str, shaping: Shaping, then: Mapping[str, Any]) -> Any:
    """What the present value is compared with."""
    if shaping.setting == f"{job}.parallelism":
        return most_parallelism(job, then, then)
    return then[shaping.setting]


def refuse(job: str, found: Collection[Change], accepted: Collection[str]) -> None:
    """Refuse to restore state while a change of a setting stands that was not accepted.

    Raises
    ------
    UsageError
        Names each with both values; or what is accepted shapes no state of this job, or cannot be accepted.
    """
    there = {one.setting: one for one in SHAPING[job]}
    wrong = [name for name in accepted if name not in there or not there[name].acceptable]
    if wrong:
        names = ", ".join(name for name, one in there.items() if one.acceptable)
        raise UsageError(f"a change of {wrong[0]} cannot be accepted for {job}.", f"these can: {names}.")
    left = [change for change in found if change.shaping.setting not in accepted]
    if left:
        lines = "".join(f"\n  {change}" for change in left)
        raise UsageError(f"the state of {job} was made with other settings:{lines}", _way_out(left))


def _way_out(left: Collection[Change]) -> str:
    back = ", ".join(f"{one.shaping.setting}={_text(one.then)}" for one in left if one.shaping.setting != BOUNDED)
    ways = [f"set back {back}"] if back else ["submit it with an end, or without, as before"]
    if all(change.shaping.acceptable for change in left):
        ways.append("take it: " + " ".join(f"--accept {one.shaping.setting}" for one in left))
    return "; or ".join([*ways, "begin anew in a run of its own: --run-id NAME"]) + "."


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
