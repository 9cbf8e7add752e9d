"""The report of a game day, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from tests.chaos.game_day.faults import Scenario

RUNBOOKS = "docs/runbooks.md"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a fault came to, seconds.

    Parameters
    ----------
    alerted_s:
        From its begin to the alert.
    ready_s, done_s, ended_s:
        From the end of the fault to all roles ready; to a day's work done that was sent then; to the end of the alert.
    """

    scenario: Scenario
    alerted_s: float
    ready_s: float
    done_s: float
    ended_s: float


def runbook_of(alert: str) -> str:
    """Link to the section of an alert."""
    return f"[{alert}]({RUNBOOKS}#{alert.lower()})"


def markdown(seed: int, begun: datetime, outcomes: Sequence[Outcome], sent: int) -> str:
    """The whole report.

    Parameters
    ----------
    seed, begun:
        Which faults in which order, and when.
    sent:
        Source records under load, once rollups, counters and closed periods were found to be the oracle's; 0 before.
    """
    return "\n".join(_lines(seed, begun, outcomes, sent)) + "\n"


def _lines(seed: int, begun: datetime, outcomes: Sequence[Outcome], sent: int) -> Iterator[str]:
    yield f"# Game day of {begun:%Y-%m-%d %H:%M} UTC"
    yield ""
    yield f"Seed {seed}; {len(outcomes)} faults that came to their end."
    if sent:
        yield f"Of the {sent:,} records that were sent meanwhile everything **equals** the oracle.".replace(",", " ")
    else:
        yield "It did **not** come to its end, or what was counted differs from the oracle: see the output."
    yield ""
    yield "| # | fault | alert and runbook | to the alert, s | mended by | ready, s | work done, s | alert over, s |"
    yield "|---|---|---|---|---|---|---|---|"
    for number, one in enumerate(outcomes, 1):
        about = f" ({one.scenario.about})" if one.scenario.about else ""
        yield (
            f"| {number} | {one.scenario.name} | {runbook_of(one.scenario.alert)}{about} | {one.alerted_s:.0f} |"
            f" {one.scenario.mend} | {one.ready_s:.0f} | {one.done_s:.0f} | {one.ended_s:.0f} |"
        )
    yield ""
    yield "## Notes of the people on call"
    yield ""
    yield "| # | who | looked at | found | missing in the runbook |"
    yield "|---|---|---|---|---|"
    for number, _ in enumerate(outcomes, 1):
        yield f"| {number} | | | | |"
