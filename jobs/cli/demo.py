"""`tidemark demo`: replays the flights, waits until they are counted, and shows them beside the oracle."""

from __future__ import annotations

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from jobs.cli.output import console, progress, say
from jobs.demo.flights import demo_stream
from jobs.demo.replay import replay
from jobs.demo.report import Report, demo_catalog, make_report, recompute, show, wait_until_counted
from jobs.kafka_io import end_offsets
from jobs.settings import Settings, load


def register(app: typer.Typer) -> None:
    """Add the command to the `tidemark` app."""
    app.command("demo")(demo)


def demo() -> None:
    """Send a year of flights through the running jobs and compare the result with an independent recomputation."""
    report = run(load())
    report.raise_if_different()


def run(settings: Settings) -> Report:
    """Run the data part of the demo: services, topics, tables, catalog and jobs are there; repeats safely."""
    say("reading the flights …")
    records = demo_stream(len(end_offsets(settings, settings.events_topic)))
    with _bar("replaying", len(records)) as bar:
        replay(settings, records, progress=lambda count: bar.advance(bar.task_ids[0], count))
    with _bar("recomputing", len(records)) as bar:
        oracle = recompute(settings, demo_catalog(), lambda count: bar.advance(bar.task_ids[0], count))
    with oracle:
        wait_until_counted(settings, oracle, progress=lambda text: say(f"counting: {text}"))
        report = make_report(settings, oracle)
    show(report, settings, console)
    return report


def _bar(what: str, total: int) -> Progress:
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=progress)
    bar.add_task(what, total=total)
    return bar
