"""The option that states who does something; the audit has the login of the database beside it."""

from __future__ import annotations

from typing import Annotated

import typer

By = Annotated[str, typer.Option("--by", help="Who does it, for the audit; the user of this machine when left out.")]
