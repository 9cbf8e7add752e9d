"""`tidemark demo`: replays the flights, waits until they are counted, and shows them beside the oracle."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from importlib.resources import as_file, files
from typing import Annotated

import typer

from infra.local.stack import Stack
from jobs.flink.submit import submit_all
from tidemark.billing.close import close
from tidemark.billing.decide import CloseRequest
from tidemark.catalog import tool as catalog_tool
from tidemark.cli import status
from tidemark.cli.output import progress, say
from tidemark.cli.stack import FlinkMetrics, Secure, StateDir, Steps, bring_up, settings_of, stack_of
from tidemark.core import topics
from tidemark.core.errors import UsageError
from tidemark.core.kafka import end_offsets
from tidemark.core.settings import Settings
from tidemark.demo.counting import COLUMNS, counted_flights, wait_until_flights
from tidemark.demo.flights import DemoRecord, Period, demo_stream
from tidemark.demo.replay import replay
from tidemark.demo.report import Report, demo_catalog, make_report, recompute, show, wait_until_counted
from tidemark.demo.screen import Screen

# Cancelled flights are dead letters, up to 400 of a carrier in a month; they will not be redriven.
DEMO_SETTINGS = {"close.max_dead_letters": 10_000}


def register(app: typer.Typer) -> None:
    """Add the command to the `tidemark` app."""
    app.command("demo")(demo)


def demo(
    state_dir: StateDir = None,
    secure: Secure = False,
    period: Annotated[Period, typer.Option(help="Part of 2013: the first quarter, or the year.")] = Period.QUARTER,
    flink_metrics: FlinkMetrics = False,
) -> None:
    """Bring everything up, count real flights through the jobs, and compare with the oracle.

    Ends with `tidemark status`. May be repeated: running services are left alone, and records are not sent again.
    """
    began_s = time.monotonic()
    stack = stack_of(state_dir, secure=secure)
    settings, records = start(stack, period, flink_metrics=flink_metrics, secure=secure)
    report = run(settings, records, began_s)
    say("tidemark status:")
    status.show(settings, [asdict(line) for line in stack.status()])
    report.raise_if_different()


def start(
    stack: Stack, period: Period, *, flink_metrics: bool = False, secure: bool = False
) -> tuple[Settings, list[DemoRecord]]:
    """Start services, topics, tables, catalog and jobs that are missing; returns the settings and the records.

    Raises
    ------
    UsageError
        The stack counts events by the broker's clock: it is left as it is.
    """
    _refuse_clock_of_broker(bring_up(stack, flink_metrics=flink_metrics, secure=secure), stack)
    # Kept in the stack's file: a job that was stopped must be submitted with the settings that its state was made with.
    stack.add_settings(DEMO_SETTINGS)
    settings = settings_of(stack)
    steps = Steps()
    with steps.step("creating topics and loading the catalog"):
        topics.apply(settings, create_time=True)
        with as_file(files("tidemark.demo").joinpath("catalog.yaml")) as catalog:
            catalog_tool.apply(settings, catalog, backdate=True)
    with ThreadPoolExecutor(1) as pool:
        partitions = len(end_offsets(settings.kafka, settings.topics.events))
        reading: Future[list[DemoRecord]] = pool.submit(demo_stream, partitions, period)
        with steps.step("submitting meter and rollup, reading the flights"):
            submit_all(settings)
            return settings, reading.result()


def _refuse_clock_of_broker(settings: Settings, stack: Stack) -> None:
    """Refuse a topic into which `up --jobs` let events of now: flights of 2013 would all be too late."""
    topic = settings.topics.events
    if topics.exists(settings.kafka, topic) and not topics.has_create_time(settings.kafka, topic):
        raise UsageError(
            f"topic {topic} has LogAppendTime timestamps: this stack counts events of now, and the demo those of 2013.",
            f"`tidemark demo --state-dir .tidemark/demo`, or `tidemark clean --state-dir {stack.paths.root}` first.",
        )


def run(settings: Settings, records: list[DemoRecord], began_s: float) -> Report:
    """Run the data part of the demo: services, topics, tables, catalog and jobs exist; may be repeated.

    Parameters
    ----------
    settings, records:
        Results of `start`.
    began_s:
        Start of the demo, by the monotonic clock.
    """
    with Screen(progress, "sending", len(records)) as screen:
        replay(settings, records, screen.update)
    with Screen(progress, "counting flights", counted_flights(records), COLUMNS) as screen:
        first_s = wait_until_flights(settings, counted_flights(records), screen.update)
    say(f"the first totals were stored after {first_s - began_s:.0f} s")
    with Screen(progress, "recomputing", len(records)) as screen:
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            screen.update(done)

        oracle = recompute(settings, demo_catalog(), advance)
    with oracle:
        wait_until_counted(settings, oracle, progress=lambda text: say(f"counting: {text}"))
        say("closing the periods that are final …")
        # Months of history are closed at once on purpose.
        close(settings, "demo", CloseRequest(approved=True), progress=say)
        say("comparing with the oracle …")
        report = make_report(settings, oracle)
    say(f"the demo took {time.monotonic() - began_s:.0f} s")
    show(report, settings)
    return report
