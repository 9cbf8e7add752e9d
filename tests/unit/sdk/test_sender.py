"""The sender on a real spool: batches, waits, parts, what is left by others; the queue and its policies; the writer."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.unit.sdk.recorder_parts import Answers, Clock, event, recorded, rejected, sender
from tidemark_client.events import slots
from tidemark_client.events.errors import QueueFullError
from tidemark_client.events.outcome import Delivered, Later, Rejection, Smaller
from tidemark_client.events.queue import Mark, Queue
from tidemark_client.events.sender import SCAN_S, Sender
from tidemark_client.events.spool import Rejected, Spool
from tidemark_client.events.writer import Writer, Writing


def steps(one: Sender, count: int) -> list[float]:
    return [one.step() for _ in range(count)]


def test_a_batch_goes_when_it_is_full_or_its_first_event_has_waited(tmp_path: Path) -> None:
    transport, clock = Answers(), Clock()
    one, _ = sender(tmp_path, transport, clock)
    one.spool.add([event(number) for number in range(6)])
    assert one.step() == 0.0
    # Two are left: they wait for others, for a second.
    assert one.step() == 1.0
    clock.now += 0.6
    assert one.step() == pytest.approx(0.4)
    clock.now += 0.5
    assert one.step() == 0.0
    assert [len(batch) for batch in transport.sent] == [4, 2]
    assert (one.counts.accepted, one.counts.requests, one.spool.events) == (6, 2, 0)


def test_whoever_waits_is_not_kept_for_a_full_batch(tmp_path: Path) -> None:
    transport = Answers()
    one, _ = sender(tmp_path, transport, Clock())
    one.spool.add([event(1)])
    one.hurry()
    assert one.step() == 0.0
    assert transport.sent == [["e-1"]]


def test_a_server_that_cannot_is_asked_again_for_the_same_events_after_a_while(tmp_path: Path) -> None:
    transport, clock = Answers(Later("503", 5.0), Later("refused")), Clock()
    one, _ = sender(tmp_path, transport, clock)
    one.spool.add([event(number) for number in range(4)])
    assert steps(one, 2) == [0.0, pytest.approx(5.2)]
    one.hurry()
    assert one.step() > 5.0
    clock.now += 5.3
    assert steps(one, 2) == [0.0, pytest.approx(0.4)]
    assert one.counts.error == "refused"
    clock.now += 1
    assert one.step() == 0.0
    assert transport.sent == [["e-0", "e-1", "e-2", "e-3"]] * 3
    assert (one.counts.error, one.spool.events, one.backoff.failures) == ("", 0, 0)


def test_rejected_events_are_kept_with_the_reason_and_reported(tmp_path: Path) -> None:
    one, reported = sender(tmp_path, Answers(Delivered([0, 2, 3], [Rejection(1, "wrong_type", "no")])), Clock())
    one.spool.add([event(number) for number in range(4)])
    one.step()
    kept = one.spool.rejected(9)
    assert [(each.id, each.reason, each.detail) for each in kept] == [("e-1", "wrong_type", "no")]
    assert reported == kept
    assert (one.counts.accepted, one.counts.rejected, one.spool.events) == (3, 1, 0)


def test_rejected_events_above_the_bound_are_counted_as_they_go(tmp_path: Path) -> None:
    every = Delivered((), [Rejection(index, "wrong_type", "") for index in range(4)])
    one, _ = sender(tmp_path, Answers(every), Clock(), most_rejected=3)
    one.spool.add([event(number) for number in range(4)])
    one.step()
    assert (one.counts.rejected_forgotten, one.spool.rejected_count()) == (1, 3)


def test_events_without_an_outcome_are_sent_again_but_not_at_once(tmp_path: Path) -> None:
    transport, clock = Answers(Delivered([0, 3])), Clock()
    one, _ = sender(tmp_path, transport, clock)
    one.spool.add([event(number) for number in range(4)])
    assert steps(one, 2) == [0.0, pytest.approx(0.2)]
    clock.now += 1
    one.step()
    assert transport.sent[1] == ["e-1", "e-2"]


def test_too_large_a_request_is_halved_down_to_the_event_at_fault(tmp_path: Path) -> None:
    def server(batch: Any) -> Any:
        return Smaller("too_large", "413") if any(one.id == "e-2" for one in batch) else Delivered(range(len(batch)))

    transport = Answers(*[server] * 20)
    one, _ = sender(tmp_path, transport, Clock())
    one.spool.add([event(number) for number in range(8)])
    while one.spool.events:
        one.step()
        one.hurry()
    assert [(each.id, each.reason) for each in one.spool.rejected(9)] == [("e-2", "too_large")]
    assert one.counts.accepted == 7
    # And grows again.
    assert len(transport.sent[-1]) > 1


def test_events_that_are_dropped_while_under_way_are_subtracted_once(tmp_path: Path) -> None:
    def answer(batch: Any) -> Delivered:
        # The writer makes room meanwhile, and the oldest are those under way.
        assert one.spool.drop_oldest(200) == 4
        return Delivered(range(len(batch)))

    transport = Answers(answer)
    one, _ = sender(tmp_path, transport, Clock())
    one.spool.add([event(number) for number in range(6)])
    one.step()
    assert (one.spool.events, one.spool.bytes) == (2, 200)
    one.hurry()
    assert steps(one, 2) == [0.0, SCAN_S]
    assert (transport.sent[1:], one.spool.events, one.spool.bytes) == ([["e-4", "e-5"]], 0, 0)


def left_by_another(folder: Path, *numbers: int) -> Spool:
    left = Spool(folder / "events-3.db")
    left.add([event(number) for number in numbers], [rejected(99)])
    left.close()
    return left


def test_events_of_a_process_that_ended_are_taken_over_and_sent(tmp_path: Path) -> None:
    left_by_another(tmp_path, 7, 8)
    transport, clock = Answers(), Clock()
    one, _ = sender(tmp_path, transport, clock)
    assert steps(one, 2) == [0.0, 1.0]
    clock.now += 2
    one.step()
    assert (transport.sent, one.spool.rejected(9)) == ([["e-7", "e-8"]], [rejected(99)])
    assert steps(one, 2) == [SCAN_S, SCAN_S]


def test_a_process_that_always_has_events_of_its_own_takes_over_those_of_others_too(tmp_path: Path) -> None:
    transport, clock = Answers(), Clock()
    one, _ = sender(tmp_path, transport, clock)
    one.step()
    left_by_another(tmp_path, 1, 2)
    for number in range(100, 113):
        clock.now += SCAN_S / 10
        one.spool.add([event(number) for _ in range(4)])
        one.step()
    assert [name for batch in transport.sent for name in batch if name in {"e-1", "e-2"}] == ["e-1", "e-2"]


def test_what_others_left_is_looked_for_while_events_wait_for_more_of_them(tmp_path: Path) -> None:
    one, _ = sender(tmp_path, Answers(), Clock(), linger_s=60.0)
    one.step()
    one.spool.add([event(1)])
    assert one.step() == SCAN_S


def test_beside_events_of_its_own_a_process_takes_over_a_part_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemark_client.events.sender.MOST_EVENTS", 2)
    left, clock = left_by_another(tmp_path, 1, 2, 3, 4, 5), Clock()
    one, _ = sender(tmp_path, Answers(), clock)
    one.spool.add([event(100)])
    steps(one, 3)
    assert len(left.oldest(9, 1 << 20)) == 3
    clock.now += SCAN_S
    steps(one, 3)
    # The second part, and all of the rest once nothing else waits.
    while left.oldest(9, 1 << 20):
        one.hurry()
        assert one.step() == 0.0


def test_what_cannot_be_sent_is_not_taken_over_beside_events_of_its_own(tmp_path: Path) -> None:
    transport, clock = Answers(Later("503", 5.0), Later("503", 5.0)), Clock()
    one, _ = sender(tmp_path, transport, clock)
    one.step()
    one.spool.add([event(number) for number in range(4)])
    one.step()
    left = left_by_another(tmp_path, 7)
    for _ in range(2):
        clock.now += SCAN_S + 1
        one.step()
    assert (len(transport.sent), one.spool.events, len(left.oldest(9, 1 << 20))) == (3, 0, 1)
    one.step()
    assert (one.spool.events, left.oldest(9, 1 << 20)) == (1, [])


def test_events_of_a_process_that_lives_are_left_to_it(tmp_path: Path) -> None:
    one, _ = sender(tmp_path, Answers(), Clock())
    other = slots.first_free(tmp_path)
    theirs = Spool(other.file)
    theirs.add([event(7)])
    assert steps(one, 2) == [SCAN_S, SCAN_S]
    assert theirs.events == 1
    other.release()


def test_a_broken_file_of_another_process_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    one, _ = sender(tmp_path, Answers(), clock)
    (tmp_path / "events-5.db").write_text("no database, but long enough to be one" * 50)
    for _ in range(3):
        assert one.step() == SCAN_S
        clock.now += SCAN_S
    assert len(caplog.records) == 1


def test_a_folder_that_cannot_be_searched_keeps_no_events_of_its_own(tmp_path: Path) -> None:
    transport = Answers()
    one, _ = sender(tmp_path, transport, Clock())
    (tmp_path / "events-5.db").touch()
    (tmp_path / "events-5.lock").mkdir()
    one.spool.add([event(number) for number in range(4)])
    with pytest.raises(OSError, match=r"events-5\.lock"):
        one.step()
    assert (one.step(), len(transport.sent)) == (0.0, 1)


def queue(on_full: Any, size: int = 3) -> Queue:
    made = Queue(size, on_full, 0.05)
    made.items.extend(recorded(number) for number in range(size))
    return made


@pytest.mark.parametrize("on_full", ["raise", "block"])
def test_a_full_queue_refuses_at_once_or_after_a_while(on_full: Any) -> None:
    full = queue(on_full)
    with pytest.raises(QueueFullError, match="3 events wait in memory"):
        full.make_room()
    assert (full.events(), full.dropped) == (3, 0)


def test_a_full_queue_lets_whoever_waits_in_when_there_is_room() -> None:
    full = Queue(3, "block", 30)
    full.items.extend(recorded(number) for number in range(3))
    thread = threading.Thread(target=full.make_room)
    thread.start()
    full.take(1)
    thread.join(20)
    assert not thread.is_alive()


def test_a_full_queue_drops_the_oldest_and_counts_it_but_never_a_mark() -> None:
    full = queue("drop_oldest")
    full.make_room()
    assert (full.dropped, [one.tick for one in full.items]) == (1, [1, 2])  # type: ignore[union-attr]
    mark = full.mark()
    full.items.rotate(1)
    full.make_room()
    assert (full.dropped, full.items[0], full.events()) == (2, mark, 1)


def test_a_queue_that_drops_the_oldest_is_never_larger_whoever_waits() -> None:
    full = queue("drop_oldest")
    # Two marks were put back because the disk fails.
    marks = [Mark(), Mark()]
    full.items.extendleft(reversed(marks))
    for number in range(3, 13):
        full.make_room()
        full.items.append(recorded(number))
    assert (full.events(), full.dropped) == (3, 10)
    assert full.take(3)[1] == marks


def test_a_policy_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="on_full is"):
        Queue(1, "drop", 1)  # type: ignore[arg-type]


def test_marks_come_with_the_events_before_them() -> None:
    waiting = queue("raise")
    last = waiting.mark()
    assert waiting.take(2)[1] == []
    events, marks = waiting.take(1)
    assert ([one.tick for one in events], marks) == ([2], [last])
    waiting.put_back(events, marks)
    assert waiting.take(0) == ([], [])
    assert waiting.take(9) == (events, [last])


def writer(folder: Path, waiting: Queue, **changes: Any) -> tuple[Writer, Spool, list[Rejected]]:
    spool, reported = Spool(folder / "events-0.db"), []
    settings = Writing(**{"tenant": "acme", "source": None, "spool_bytes": 10_000, "on_full": "block"} | changes)
    return Writer(waiting, spool, settings, lambda: None, reported.extend), spool, reported


def test_whoever_waits_hears_when_the_events_before_are_on_disk(tmp_path: Path) -> None:
    waiting = queue("block")
    mark = waiting.mark()
    one, spool, _ = writer(tmp_path, waiting)
    one.drain()
    assert (mark.spooled.is_set(), mark.last, spool.events) == (True, 3, 3)


def test_an_event_that_is_no_json_is_kept_and_reported_and_stops_no_other(tmp_path: Path) -> None:
    waiting = queue("block")
    waiting.items.append(recorded(7)._replace(properties={"text": "x" * 70_000}))
    waiting.items.append(recorded(8)._replace(properties={"n": 10**5_000}))
    one, spool, reported = writer(tmp_path, waiting)
    one.drain()
    assert (spool.events, [each.reason for each in reported]) == (3, ["not_encodable"] * 2)
    assert "the limit is 65536" in reported[0].detail
    assert spool.rejected(9) == reported
    assert b'"event_type":"call"' in reported[1].body
    assert "properties were n" in reported[1].detail


def test_an_event_that_is_too_long_without_its_properties_stops_no_other(tmp_path: Path) -> None:
    waiting = queue("block")
    waiting.items.append(recorded(7)._replace(quantity="0." + "1" * 70_000, given_id="own"))
    one, spool, reported = writer(tmp_path, waiting)
    one.drain()
    assert spool.events == 3
    assert [(each.id, each.reason, each.body) for each in reported] == [("own", "not_encodable", b"{}")]
    assert spool.rejected(9) == reported


def test_an_event_without_an_id_stays_in_memory_and_the_writer_goes_on(tmp_path: Path) -> None:
    waiting = queue("block")
    mark = waiting.mark()
    waiting.items.append(recorded(7)._replace(tick="none"))  # type: ignore[arg-type]
    one, _, _ = writer(tmp_path, waiting)
    one.stopping.set()
    one.drain()
    assert (waiting.events(), mark.spooled.is_set()) == (4, False)
    assert "str" in one.error


def test_a_disk_that_fails_leaves_the_events_in_memory(tmp_path: Path) -> None:
    waiting = queue("block")
    mark = waiting.mark()
    one, spool, _ = writer(tmp_path, waiting)
    one.stopping.set()
    spool.close()
    (tmp_path / "events-0.db").write_text("no database, but long enough to be one" * 50)
    one.drain()
    assert (waiting.events(), mark.spooled.is_set()) == (3, False)
    assert "cannot be used" in one.error


@pytest.mark.parametrize("on_full", ["block", "drop_oldest"])
def test_a_full_spool_takes_no_more_or_drops_its_oldest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_full: Any
) -> None:
    monkeypatch.setattr("tidemark_client.events.writer._RETRY_S", 0.0)
    waiting = queue("block")
    one, spool, _ = writer(tmp_path, waiting, spool_bytes=150, on_full=on_full)
    one.drain()
    waiting.items.extend(recorded(number) for number in range(3, 6))
    one.drain()
    if on_full == "block":
        assert (spool.events, waiting.events(), one.dropped) == (3, 3, 0)
    else:
        assert (spool.bytes <= 150, waiting.events(), spool.events + one.dropped) == (True, 0, 6)


@pytest.mark.parametrize("on_full", ["block", "raise"])
def test_at_the_end_a_full_spool_takes_what_is_in_memory(tmp_path: Path, on_full: Any) -> None:
    waiting = queue(on_full, 2_500)
    one, spool, _ = writer(tmp_path, waiting, spool_bytes=150, on_full=on_full)
    spool.add([event(number) for number in range(2)])
    one.stopping.set()
    one.drain()
    assert (spool.events, waiting.events()) == (2_502, 0)
