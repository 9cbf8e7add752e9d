"""The spool: what is put on disk stays until it is settled, one process a file, and what others left is taken over."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sdk.recorder_parts import event, rejected
from tidemark_client.events import slots
from tidemark_client.events.errors import SpoolError
from tidemark_client.events.spool import Spool, move

ALL = 1 << 40


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "events-0.db")


def ids(spool: Spool) -> list[str]:
    return [one.id for one in spool.oldest(1_000, ALL)]


def test_events_wait_in_the_order_they_were_put_there_also_after_it_is_opened_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s.db")
    assert spool.add([event(1), event(2)]) == 2
    assert spool.add([event(3)]) == 3
    spool.settle(spool.oldest(1, ALL))
    spool.close()
    again = Spool(tmp_path / "s.db")
    assert (ids(again), again.events, again.bytes, again.first()) == (["e-2", "e-3"], 2, 200, 2)


def test_a_place_is_never_given_twice_so_nobody_waits_for_the_wrong_event(spool: Spool) -> None:
    spool.add([event(1)])
    spool.settle(spool.oldest(1, ALL))
    assert spool.first() is None
    assert spool.add([event(2)]) == 2


def test_a_batch_has_as_many_events_as_fit_and_always_one(spool: Spool) -> None:
    spool.add([event(number, size=100) for number in range(5)])
    assert [len(spool.oldest(*limits)) for limits in ((3, ALL), (9, 303), (9, 302), (9, 1))] == [3, 3, 2, 1]


def test_a_rejected_event_moves_to_its_table_with_its_reason(spool: Spool) -> None:
    spool.add([event(1), event(2)])
    spool.settle(spool.oldest(1, ALL), [rejected(1)])
    assert (ids(spool), spool.rejected(10), spool.rejected_count()) == (["e-2"], [rejected(1)], 1)
    assert spool.forget_rejected(["e-1", "never"]) == 1
    assert spool.rejected(10) == []


def test_rejected_words_that_are_no_unicode_are_kept_as_well_as_can_be(spool: Spool) -> None:
    spool.settle([], [rejected(1)._replace(detail="half \ud800")])
    assert spool.rejected(1)[0].detail == "half ?"


def test_above_a_number_the_oldest_rejected_events_go(spool: Spool) -> None:
    spool.settle([], [rejected(number) for number in range(5)])
    assert (spool.trim_rejected(2), spool.trim_rejected(2)) == (3, 0)
    assert [one.id for one in spool.rejected(9)] == ["e-3", "e-4"]


def test_the_oldest_events_go_until_the_rest_fits(spool: Spool) -> None:
    spool.add([event(number, size=100) for number in range(5)])
    assert spool.drop_oldest(250) == 3
    assert (ids(spool), spool.bytes) == (["e-3", "e-4"], 200)


def test_what_is_settled_twice_is_subtracted_and_counted_once(spool: Spool) -> None:
    spool.add([event(1), event(2)])
    both = spool.oldest(2, ALL)
    assert (spool.settle(both[:1]), spool.settle(both), spool.settle(both)) == (1, 1, 0)
    assert (spool.events, spool.bytes) == (0, 0)


def test_a_transaction_that_fails_changes_nothing(spool: Spool) -> None:
    with pytest.raises(SpoolError, match="cannot be used"):
        spool.add([event(1), event(2)._replace(body=None)])  # type: ignore[arg-type]
    assert (ids(spool), spool.events, spool.bytes) == ([], 0, 0)


def test_a_file_that_is_no_spool_or_a_newer_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database, but long enough to be one" * 50)
    with pytest.raises(SpoolError, match="cannot be used"):
        Spool(tmp_path / "text.db")
    with sqlite3.connect(tmp_path / "newer.db") as newer:
        newer.execute("PRAGMA user_version = 2")
    newer.close()
    with pytest.raises(SpoolError, match="version 2"):
        Spool(tmp_path / "newer.db")


@settings(max_examples=20)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 6)), max_size=12))
def test_what_was_added_and_not_settled_is_there(steps: list[tuple[bool, int]]) -> None:
    spool, model, number = Spool(Path(":memory:")), [], 0
    for adds, count in steps:
        if adds:
            new = [event(number + index) for index in range(count)]
            number += count
            spool.add(new)
            model += [one.id for one in new]
        else:
            spool.settle(spool.oldest(count, ALL))
            model = model[count:]
        assert (ids(spool), spool.events, spool.bytes) == (model, len(model), 100 * len(model))
    spool.close()


def test_a_slot_has_one_owner_and_the_next_takes_the_next(tmp_path: Path) -> None:
    first, second = slots.first_free(tmp_path), slots.first_free(tmp_path)
    assert [one.file.name for one in (first, second)] == ["events-0.db", "events-1.db"]
    first.release()
    assert slots.first_free(tmp_path).file == first.file


def test_only_files_without_an_owner_are_orphans(tmp_path: Path) -> None:
    mine, left = slots.first_free(tmp_path), slots.first_free(tmp_path)
    for slot in (mine, left):
        Spool(slot.file).close()
    left.release()
    found = [*slots.orphans(tmp_path)]
    assert [one.file for one in found] == [left.file]
    # Taken, until they are released.
    assert [*slots.orphans(tmp_path)] == []


def test_what_a_process_left_is_taken_over_in_parts(tmp_path: Path) -> None:
    left, mine = Spool(tmp_path / "left.db"), Spool(tmp_path / "mine.db")
    left.add([event(number) for number in range(5)], [rejected(9)])
    mine.add([event(100)])
    assert move(left, mine, 3, ALL)
    assert (len(ids(left)), len(ids(mine)), mine.rejected_count(), left.rejected_count()) == (2, 4, 1, 0)
    assert move(left, mine, 3, ALL)
    assert not move(left, mine, 3, ALL)
    assert ids(mine) == ["e-100", *(f"e-{number}" for number in range(5))]


def test_the_folder_of_a_tenant_is_its_own_whatever_its_name(tmp_path: Path) -> None:
    names = ["acme", "ACME", "..", "a/b", "a%2Fb", "x" * 256, "x" * 255, "ü"]
    folders = [slots.folder_of(tmp_path, name) for name in names]
    assert len(set(folders)) == len(names)
    assert {folder.parent for folder in folders} == {tmp_path}
    assert stat.S_IMODE(slots.made(folders[0]).stat().st_mode) == 0o700
    assert all(slots.made(folder).is_dir() for folder in folders)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpoolError, match="cannot be made"):
        slots.made(tmp_path / "file" / "spool")


def test_no_file_is_left_open_while_the_process_forks(spool: Spool, tmp_path: Path) -> None:
    spool.add([event(1)])
    spool.suspend()
    files = [link.resolve() for link in Path("/proc/self/fd").iterdir()]
    assert not any(file.is_relative_to(tmp_path) for file in files)
    spool.resume()
    assert ids(spool) == ["e-1"]
