"""`tidemark`: every command group is registered here, and errors a person can act on become exit codes."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import ModuleType

import typer

from tidemark.cli import (
    alerts,
    archive,
    catalog,
    close,
    db,
    dlq,
    dry_run,
    ledger,
    live,
    period,
    reconcile,
    replay,
    responses,
    retention,
    send,
    settings_cmd,
    submit,
    topics,
    usage,
    watch,
)
from tidemark.cli.output import say
from tidemark.core.errors import TidemarkError

# The local stack belongs to a checkout: the wheel, which the image is made of, has neither it nor the demo.
if find_spec("infra") is not None:
    from tidemark.cli import demo, doctor, stack

    _LOCAL_GROUPS: tuple[ModuleType, ...] = (stack, doctor, demo)
else:
    _LOCAL_GROUPS = ()

_GROUPS = (
    settings_cmd,
    topics,
    db,
    catalog,
    submit,
    send,
    usage,
    live,
    watch,
    alerts,
    responses,
    dlq,
    close,
    ledger,
    period,
    reconcile,
    replay,
    archive,
    retention,
    dry_run,
)
_INTERRUPTED = 130

app = typer.Typer(
    name="tidemark",
    help="Usage metering that finance can bill from. Exit codes: 0 ok, 1 failure, 2 wrong call or setting, "
    "3 a service is not available, 4 numbers differ.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for group in (*_LOCAL_GROUPS, *_GROUPS):
    group.register(app)


def main() -> None:
    """Run a command; an expected error is one message on stderr and its exit code."""
    try:
        app()
    except TidemarkError as error:
        say(f"error: {error.what}")
        if error.fix:
            say(f"fix:   {error.fix}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        say("interrupted; the same command goes on where it stopped")
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
