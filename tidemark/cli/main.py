"""`tidemark`: the app, and the exit codes of expected errors."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from tidemark.cli.lazy import LazyGroup
from tidemark.cli.output import put, say
from tidemark.core.errors import TidemarkError

DISTRIBUTION = "tidemark-metering"
_INTERRUPTED = 130

app = typer.Typer(
    name="tidemark",
    cls=LazyGroup,
    help="Usage metering that finance can bill from. Exit codes: 0 ok, 1 failure, 2 wrong call or setting, "
    "3 a service is not available, 4 numbers differ.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        put(f"tidemark {version(DISTRIBUTION)}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None: ...


def main() -> None:
    """Run a command; an expected error becomes a message on stderr and an exit code."""
    try:
        app()
    except TidemarkError as error:
        say(f"error: {error.what}")
        if error.fix:
            say(f"fix:   {error.fix}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        say("interrupted; the same command continues where it stopped")
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
