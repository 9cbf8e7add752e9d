"""The commands of `tidemark` by name: the module of a command is imported when it is called, not to list it."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

# Module of tidemark.cli and first paragraph of the help, in the order of `tidemark --help`.
COMMANDS: dict[str, tuple[str, str]] = {
    "up": (
        "stack",
        "Start Kafka, TimescaleDB, Redis and Flink, and create the tables; running services are left alone.",
    ),
    "quickstart": (
        "quickstart",
        "Measure something first: a catalog by a template or three questions, a key, one `curl`, and the number.",
    ),
    "down": ("stack", "Stop the jobs with savepoints and then all services; the data stays."),
    "status": (
        "status",
        "Show how a deployment does, from its settings: jobs, lag, roles, what waits; exit code 0 when it is healthy.",
    ),
    "clean": ("stack", "Stop everything and remove the stack's data; downloads stay in the cache."),
    "doctor": (
        "doctor",
        "Check machine and local stack, or the deployment of the settings; each failing line has its fix.",
    ),
    "settings": ("settings_cmd", "Show every setting, its value (secrets masked) and its meaning."),
    "topics": ("topics", "Kafka topics."),
    "schemas": ("schemas", "Contracts of the topics in a schema registry."),
    "db": ("db", "The database."),
    "catalog": ("catalog", "Tenants, customers, calendars, meters, limits and alert policy."),
    "submit": ("submit", "Submit a job to the cluster, restoring its newest state; a running job is left alone."),
    "stop": ("submit", "Stop a job with a savepoint; `submit` continues from it."),
    "send": (
        "send",
        "Send each line of a file as one event, unchanged; an invalid line is sent too and becomes a dead letter.",
    ),
    "usage": (
        "usage",
        "Print live counter and stored total of each meter, side by side; or usage by dimensions, or day by day.",
    ),
    "top": (
        "usage",
        "Print the customers with the greatest totals of a meter in the latest complete hour, from the leaderboard.",
    ),
    "live": ("live", "Live counters in Redis."),
    "serve": (
        "serve",
        "Run roles beside the jobs until SIGTERM or Ctrl-C; logs JSON lines to stderr, and never ends by itself.",
    ),
    "keys": ("keys", "Keys of the HTTP API."),
    "quotas": ("quotas", "Volume, series and unique values of tenants."),
    "alerts": ("alerts", "Alerts: tail, acknowledgements, statistics."),
    "deliver": ("responses", "Notifications to receivers."),
    "respond": ("responses", "Automated responses to alerts."),
    "dlq": ("dlq", "Events that were not counted."),
    "close": (
        "close",
        "Close every period whose end + grace lies behind the arrival watermark; exit code 1 when one is refused.",
    ),
    "ledger": ("ledger", "Closed periods and corrections."),
    "explain": ("ledger", "Show what is behind a number: its versions, and the offsets of its events."),
    "trace": (
        "trace",
        "Show every record with an event id, which one was counted, and its totals; exit code 1 without a record.",
    ),
    "period": (
        "period",
        "Print the billing period that contains an instant: start and end (exclusive), and how they were found.",
    ),
    "reconcile": ("reconcile", "Compare numbers with their sources."),
    "replay": ("replay", "Rebuild usage as a second version, compare, promote, revert."),
    "scale": ("scale", "Parallelism of running jobs."),
    "upgrade": ("upgrade", "Another version of Tidemark for a deployment that runs."),
    "archive": ("archive", "Raw records in Parquet, beyond the retention of Kafka."),
    "backup": ("backup", "What is in Postgres alone: saved, tried, restored."),
    "erase": (
        "archive",
        "Erase the parts of a customer's events that metering does not read from the archive; totals stay as they are.",
    ),
    "retention": (
        "retention",
        "Execute the steps that the settings of `retention` define; exit code 1 if a step is refused.",
    ),
    "approve": ("approve", "Approve what another login is about to do, once, within a day."),
    "audit": ("audit", "Print who changed what: the newest entries of the audit."),
    "dry-run": (
        "dry_run",
        "Count a file of events as the jobs would with this catalog: rejected events, and the usage of all meters.",
    ),
    "demo": (
        "demo",
        "Bring everything up, count real flights through the jobs, and compare with the oracle.",
    ),
}
# The local stack belongs to a checkout: the wheel, which is in the image, has neither the stack nor the demo.
LOCAL = frozenset({"stack", "demo"})


def commands() -> dict[str, tuple[str, str]]:
    """The commands that this installation has."""
    whole = find_spec("infra") is not None
    return {name: about for name, about in COMMANDS.items() if whole or about[0] not in LOCAL}


class LazyCommand(TyperCommand):
    """A command of which only name and help are known until it is called or completed, and then imported."""

    def __init__(self, name: str, module: str, text: str) -> None:
        super().__init__(name, help=text)
        self._module = module

    def load(self) -> Any:
        """The command itself, or the group of commands."""
        app = typer.Typer()
        import_module(f"tidemark.cli.{self._module}").register(app)
        return typer.main.get_group(app).commands[str(self.name)]

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the command itself, which is what is then invoked."""
        return self.load().make_context(info_name, args, parent=parent, **extra)


class LazyGroup(TyperGroup):
    """The group of all commands."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: LazyCommand(name, *about) for name, about in commands().items()}
