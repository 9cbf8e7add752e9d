"""A name under which something was begun: the same upgrade goes on, anything else is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tidemark.core.errors import UsageError
from tidemark.replay.record import Replay
from tidemark.upgrade.blue_green import Wanted, refuse_other
from udfs.values import EPOCH

JANUARY, MARCH = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)
BEGUN = Replay(
    replay_id="v2", state="running", scope_start=JANUARY, scope_end=None, tenants=(), from_archive=False,
    events_topic="usage.events", catalog_at=None, events_per_s=0, read_from=None, late_until=EPOCH, starts={},
    target={}, reached=None, watermark=None, started_at=MARCH, started_by="x", caught_up_at=None,
)  # fmt: skip


@pytest.mark.parametrize("start", [None, JANUARY])
def test_the_same_upgrade_goes_on(start: datetime | None) -> None:
    refuse_other(BEGUN, Wanted("v2", "x", start))


@pytest.mark.parametrize(
    "change",
    [
        {"scope_end": MARCH},
        {"tenants": ("acme",)},
        {"from_archive": True},
        {"catalog_at": MARCH},
        {"late_until": MARCH},
    ],
)
def test_a_replay_of_another_kind_is_not_taken_for_it(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="'v2' is a replay that `tidemark replay` started"):
        refuse_other(replace(BEGUN, **change), Wanted("v2", "x"))


def test_another_begin_is_refused_with_the_one_it_has() -> None:
    with pytest.raises(UsageError, match="'v2' begins at 2024-01-01T00:00:00"):
        refuse_other(BEGUN, Wanted("v2", "x", MARCH))
