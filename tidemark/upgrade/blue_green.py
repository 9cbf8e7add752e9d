"""The version of this checkout beside the one that runs: rebuilt by a replay, caught up, compared, switched to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from tidemark.core import migrate, postgres
from tidemark.core.errors import TidemarkError, UsageError
from tidemark.core.settings import Settings
from tidemark.core.terminal import say
from tidemark.live import active_version
from tidemark.replay import promotion, record, run
from tidemark.replay.announce import announce
from tidemark.replay.diff import Line, diff
from tidemark.replay.promotion import PromotionResult
from tidemark.replay.record import Replay
from tidemark.upgrade.begin import begin, refuse_removed
from tidemark.upgrade.compare import Compared, compared
from udfs.values import EPOCH, rfc3339

# Comparisons until lines count as different. Both versions catch up with each other before each.
_ROUNDS = 4

Progress = Callable[[run.Progress], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of an upgrade.

    Parameters
    ----------
    replay_id, by:
        Name of the new version, and who brings it up.
    start:
        First event time; None: as `begin` says.
    accept:
        Switch although lines differ.
    """

    replay_id: str
    by: str
    start: datetime | None = None
    accept: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far an upgrade came.

    Parameters
    ----------
    replay:
        The new version.
    compared:
        Lines that would change, for which it was not switched to unless they were accepted.
    switched:
        What the switch did; None where it was not made.
    """

    replay: Replay
    compared: Compared
    switched: PromotionResult | None = None


def upgrade(settings: Settings, wanted: Wanted, progress: Progress | None = None) -> Outcome:
    """Bring the version of this checkout up beside the one that runs, and switch to it; repeated, it goes on.

    1. What would be refused later is refused now: migrations that are not applied, records that are gone.
    2. A replay without an end starts, by the rules of the live run: what was too late stays too late.
    3. It catches up. Counters and heartbeat of it must be in Redis, written by the role `live`.
    4. It is compared. Lines that differ are returned and nothing is switched, unless they are accepted.
    5. It is promoted, and readers follow. `tidemark replay revert` goes back, as long as the old jobs run.

    Raises
    ------
    UsageError
        Migrations are not applied, records are gone, or the name is that of another replay.
    TidemarkError
        It does not catch up, its counters are not there yet, or the switch is refused.
    """
    # Step 1
    _refuse_unmigrated(settings)
    # Step 2
    replay = _found_or_started(settings, wanted)
    # Step 3
    replay = run.finish(settings, replay, progress)
    if replay.state == "promoted":
        announce(settings)
        return Outcome(replay, Compared(), PromotionResult(changed=False))
    _refuse_unready(settings, wanted.replay_id)
    # Step 4
    result = _compared(settings, replay)
    if result.differing and not wanted.accept:
        return Outcome(replay, result)
    # Step 5
    switched = promotion.promote(settings, wanted.replay_id, wanted.by)
    announce(settings)
    return Outcome(replay, result, switched)


def _refuse_unmigrated(settings: Settings) -> None:
    with postgres.connect(settings.postgres.ops) as connection:
        missing = migrate.missing(connection, settings)
    if missing:
        raise UsageError(
            f"{len(missing)} migrations are not applied, the first is {missing[0]}.",
            "`tidemark db migrate`: migrations only add, the old version goes on.",
        )


def found(settings: Settings, replay_id: str) -> Replay | None:
    """What was begun under a name; None: nothing."""
    with postgres.connect(settings.postgres.ops) as connection:
        return record.known(connection, settings.names, replay_id)


def _found_or_started(settings: Settings, wanted: Wanted) -> Replay:
    known = found(settings, wanted.replay_id)
    if known is not None:
        refuse_other(known, wanted)
        return run.resume(settings, known)
    first = wanted.start or begin(settings)
    refuse_removed(settings, first)
    beside = settings.names.replay(wanted.replay_id)
    say(
        f"the new version counts all from {rfc3339(first)} on, as run {beside}. It needs its own role `live`, from now "
        f"on: `tidemark serve --roles live --run-id {beside}`"
    )
    return run.start(settings, run.Request(wanted.replay_id, wanted.by, first, counts_late=False))


def refuse_other(known: Replay, wanted: Wanted) -> None:
    """Refuse a name under which something else than this upgrade was begun.

    Raises
    ------
    UsageError
        It is a replay of another kind, or begins elsewhere.
    """
    if known.bounded or known.tenants or known.from_archive or known.catalog_at or known.late_until != EPOCH:
        raise UsageError(
            f"{known.replay_id!r} is a replay that `tidemark replay` started: it does not count as the live run does.",
            f"give another --id, or decide about it with `tidemark replay promote {known.replay_id}`.",
        )
    if wanted.start not in {None, known.scope_start}:
        raise UsageError(
            f"{known.replay_id!r} begins at {rfc3339(known.scope_start)}, not at what --from says.",
            "leave --from out to go on with it, or give another --id.",
        )


def _refuse_unready(settings: Settings, replay_id: str) -> None:
    why = active_version.unready(settings, replay_id)
    if why:
        raise TidemarkError(
            f"the new version has caught up, and readers would not trust it yet: {why}", "then call this again."
        )


def _compared(settings: Settings, replay: Replay) -> Compared:
    rounds: list[list[Line]] = []
    result = Compared()
    for number in range(1, _ROUNDS + 1):
        say(f"comparing both versions, {number} of at most {_ROUNDS} times …")
        promotion.catch_up_below(settings, promotion.catch_up(settings, replay))
        rounds.append(diff(settings, replay.replay_id))
        result = compared(rounds)
        if result == Compared():
            break
    return result
