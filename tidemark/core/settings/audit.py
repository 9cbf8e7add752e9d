"""Options of the audit."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tidemark.core.settings.section import Section

# Acts whose subject is known before: an approval names it.
TwoPerson = Literal[
    "archive.erase",
    "close.accept_dead_letters",
    "reconcile.explain_drift",
    "replay.promote",
    "replay.revert",
]


class AuditSettings(Section):
    """What takes two people."""

    two_person: tuple[TwoPerson, ...] | None = Field(
        None,
        description="Actions that need an approval of another login (`tidemark approve`); `db migrate` stores it in "
        "the database, where it holds for everybody. Empty: what is stored there stays; []: none.",
    )
