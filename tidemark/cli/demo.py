"""`tidemark demo`: replays the flights, waits until they are counted, and shows them beside the oracle."""

from __future__ import annotations

from importlib.resources import as_file, files

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from infra.local.stack import Stack
from jobs.flink.rest import FlinkRest
from jobs.flink.submit import JOBS, submit
from tidemark.billing.close import close
from tidemark.billing.decide import Wish
from tidemark.catalog import tool as catalog_tool
from tidemark.cli.output import progress, say
from tidemark.cli.stack import StateDir, Steps, bring_up, stack_of
from tidemark.core import topics
from tidemark.core.kafka import end_offsets
from tidemark.core.settings import Settings
from tidemark.demo.flights import demo_stream
from tidemark.demo.replay import replay
from tidemark.demo.report import Report, demo_catalog, make_report, recompute, show, wait_until_counted

# The replay runs at most ten days of event time ahead of what is counted, and copies come up to 30 hours late.
SLIDING_DISORDER_S = 14 * 86_400
# A year of sliding windows per customer would be more than 10 million rows to write.
# Cancelled flights are dead letters, as many as 400 of a carrier in a month; nobody will send them again.
DEMO_SETTINGS = {
    "rollup.sliding_disorder_s": SLIDING_DISORDER_S,
    "rollup.customer_windows": False,
    "close.max_dead_letters": 10_000,
}


def register(app: typer.Typer) -> None:
    """Add the command to the `tidemark` app."""
    app.command("demo")(demo)


def demo(state_dir: StateDir = None) -> None:
    """Bring everything up, replay a year of real flights through the jobs, and compare with the oracle.

    Repeats safely: what runs is left alone, what was sent is not sent again.
    """
    settings = start(stack_of(state_dir))
    report = run(settings)
    report.raise_if_different()


def start(stack: Stack) -> Settings:
    """Services, topics, tables, catalog and jobs, each only where it is missing."""
    # Kept in the stack's file: a job that is stopped must be submitted with what its state was made with.
    stack.add_settings(DEMO_SETTINGS)
    settings = bring_up(stack)
    steps = Steps()
    with steps.step("creating topics and loading the catalog"):
        topics.apply(settings, create_time=True)
        with as_file(files("tidemark.demo").joinpath("catalog.yaml")) as catalog:
            catalog_tool.apply(settings, catalog, backdate=True)
    for job in JOBS:
        with steps.step(f"submitting {job}"):
            FlinkRest(settings.flink.rest_url).wait_running(submit(settings, job).job_id)
    return settings


def run(settings: Settings) -> Report:
    """Run the data part of the demo: services, topics, tables, catalog and jobs are there; repeats safely."""
    say("reading the flights …")
    records = demo_stream(len(end_offsets(settings.kafka, settings.topics.events)))
    with _bar("replaying", len(records)) as bar:
        replay(settings, records, progress=lambda count: bar.advance(bar.task_ids[0], count))
    with _bar("recomputing", len(records)) as bar:
        oracle = recompute(settings, demo_catalog(), lambda count: bar.advance(bar.task_ids[0], count))
    with oracle:
        wait_until_counted(settings, oracle, progress=lambda text: say(f"counting: {text}"))
        report = make_report(settings, oracle)
    say("closing the periods that are final …")
    # A year of history passes at once, and is meant to.
    close(settings, "demo", Wish(yes=True), progress=say)
    show(report, settings)
    return report


def _bar(what: str, total: int) -> Progress:
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=progress)
    bar.add_task(what, total=total)
    return bar
