"""State is restored beside the topics and tables it was made with, or beside tables that have what it wrote."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobs.flink.surroundings import Restored, refuse_older_tables, refuse_other_topics
from tidemark.core.errors import UsageError
from tidemark.core.settings import Settings

#   state:   before | of the backup | between        | since
#   tables:         made_at                   restored
MADE_AT = datetime(2026, 3, 1, 2, tzinfo=UTC)
AT = datetime(2026, 3, 1, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)


def state(folder: Path, at: datetime) -> str:
    made = folder / "chk-7"
    made.mkdir()
    (made / "_metadata").write_bytes(b"")
    os.utime(made / "_metadata", (at.timestamp(), at.timestamp()))
    return str(made)


def test_state_from_before_the_backup_is_restored_beside_it(tmp_path: Path) -> None:
    refuse_older_tables(Settings(), state(tmp_path, MADE_AT - HOUR), Restored(MADE_AT, None, AT), moved=True)


def test_state_of_the_backup_is_restored_whenever_it_was_complete(tmp_path: Path) -> None:
    own = state(tmp_path, MADE_AT + HOUR)
    refuse_older_tables(Settings(), own, Restored(MADE_AT, f"file:{own}/", AT), moved=True)
    refuse_older_tables(Settings(), f"file://{own}", Restored(MADE_AT, own, AT), moved=True)


def test_state_between_backup_and_restore_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"of 2026-03-01T02:00:00Z, restored from a backup"):
        refuse_older_tables(Settings(), state(tmp_path, AT - HOUR), Restored(MADE_AT, "/other", AT), moved=False)


def test_state_since_the_restore_is_restored_unless_it_is_of_other_tables(tmp_path: Path) -> None:
    since, restored = state(tmp_path, AT + HOUR), Restored(MADE_AT, None, AT)
    refuse_older_tables(Settings(), since, restored, moved=False)
    with pytest.raises(UsageError, match="restored from a backup"):
        refuse_older_tables(Settings(), since, restored, moved=True)


def test_state_that_cannot_be_read_is_refused_beside_restored_tables() -> None:
    with pytest.raises(UsageError, match="restored from a backup"):
        refuse_older_tables(Settings(), "/nowhere/chk-1", Restored(MADE_AT, None, AT), moved=False)


def test_a_topic_of_another_id_is_refused_and_one_that_was_not_kept_is_not() -> None:
    refuse_other_topics({"a": "1", "gone": "2"}, {"a": "1", "new": "3"})
    with pytest.raises(UsageError, match="b was deleted and made again"):
        refuse_other_topics({"a": "1", "b": "2"}, {"a": "1", "b": "3"})
