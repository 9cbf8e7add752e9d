"""What the demo shows of its progress: rate and time left; piped, a line now and then."""

from __future__ import annotations

import io

from rich.console import Console

from tidemark.demo.counting import counted_flights
from tidemark.demo.flights import DemoRecord
from tidemark.demo.screen import EVERY_S, Screen, line


def test_a_line_has_the_rate_and_the_time_left() -> None:
    assert line("counting", 3_000, 9_000, elapsed_s=2.0, begun=1_000) == "counting: 3,000 of 9,000, 1,000/s, 6 s left"


def test_the_first_line_and_the_last_one_promise_nothing() -> None:
    assert line("counting", 0, 9_000, elapsed_s=0.0) == "counting: 0 of 9,000"
    assert line("counting", 9_000, 9_000, elapsed_s=3.0) == "counting: 9,000 of 9,000, 3,000/s"


def test_piped_output_is_a_line_now_and_then_with_the_first_rows() -> None:
    out = io.StringIO()
    now_s = [0.0]
    rows = [("JFK/B6", "7", "70"), ("EWR/UA", "5", "50"), ("LGA/DL", "3", "30"), ("JFK/HA", "1", "10")]
    console = Console(file=out, width=300)
    with Screen(console, "counting", 100, ("carrier", "flights", "miles"), clock=lambda: now_s[0]) as screen:
        for count in range(0, 101, 10):
            screen.update(count, rows)
            now_s[0] += EVERY_S / 4
    lines = out.getvalue().splitlines()
    assert [item.split(":")[1].split(" of")[0].strip() for item in lines] == ["0", "40", "80", "100"]
    assert lines[1] == "counting: 40 of 100, 8/s, 8 s left; JFK/B6 7 70; EWR/UA 5 50; LGA/DL 3 30"


def test_a_terminal_shows_the_rows_in_a_table_below_the_bar() -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=True, force_interactive=True)
    with Screen(console, "counting", 100, ("carrier", "flights")) as screen:
        screen.update(40, [("JFK/B6", "7"), ("EWR/UA", "5")])
    drawn = out.getvalue()
    assert "40/100" in drawn
    assert drawn.index("carrier") < drawn.index("JFK/B6") < drawn.index("EWR/UA")


def test_a_flight_that_arrives_twice_is_counted_once_and_a_cancelled_one_never() -> None:
    values = [b'{"event_id":"1"}', b'{"event_id":"2","timestamp":null}', b'{"event_id":"1"}', b'{"event_id":"3"}']
    records = [DemoRecord(seq, seq % 2, seq, b"k", value) for seq, value in enumerate(values)]
    assert counted_flights(records) == 2
