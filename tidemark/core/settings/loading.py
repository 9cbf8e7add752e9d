"""Reads settings, and reports all errors at once."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsError

from tidemark.core.errors import UsageError
from tidemark.core.settings.model import (
    ENV_DELIMITER,
    ENV_PREFIX,
    FILE_ENV,
    SECURE_ENV,
    Settings,
    every_setting,
    nested,
    settings_file,
    variable_of,
)
from tidemark.core.settings.variables import close_to, unknown, variables

# Variables that are not settings: the file, and the marks that the local stack puts on its processes.
OTHER_VARIABLES = frozenset({FILE_ENV, SECURE_ENV, "TIDEMARK_STACK", "TIDEMARK_PROGRAM", "TIDEMARK_CONFIGURATION"})
TEST_PREFIX = "TIDEMARK_TEST_"


def load(**flags: Any) -> Settings:
    """Settings from flags by dotted name (None means not given), environment and file.

    Raises
    ------
    UsageError
        Lists every missing or wrong key, and the places that were searched.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    source = settings_file()
    faults = misspelt(os.environ)
    try:
        settings = Settings(**nested(given))
    except ValidationError as error:
        faults += [_fault(detail) for detail in error.errors()]
    except SettingsError as error:
        faults.append(_no_section(error))
    if faults:
        raise UsageError(
            "settings are wrong:\n" + "\n".join(f"  {fault}" for fault in faults) + "\nlooked in: flags, "
            f"{ENV_PREFIX}* of the environment, {source or f'no file ({FILE_ENV} is unset)'}.",
            "correct the keys above; `tidemark settings` lists all with their meaning.",
        )
    if settings.postgres.passfile is not None:
        os.environ["PGPASSFILE"] = str(settings.postgres.passfile)
    return settings


def check_environment() -> None:
    """Refuse variables that look like settings but are not, for a command that reads no setting.

    Raises
    ------
    UsageError
        Names each, with a suggestion.
    """
    faults = misspelt(os.environ)
    if faults:
        raise UsageError("; ".join(faults) + ".", "correct or unset it.")


def misspelt(environment: Mapping[str, str]) -> list[str]:
    """Errors about variables that look like settings but are not; nothing would read them."""
    known = {*variables(Settings, ENV_PREFIX, ENV_DELIMITER), *OTHER_VARIABLES}
    own = {name: value for name, value in environment.items() if not name.upper().startswith(TEST_PREFIX)}
    return [
        f"{name} of the environment: there is no such setting{f'; did you mean {meant}?' if meant else ''}"
        for name, meant in unknown(own, ENV_PREFIX, known).items()
    ]


def _fault(error: Any) -> str:
    name = ".".join(map(str, error["loc"])) or "settings"
    if error["type"] == "extra_forbidden":
        meant = close_to(name, [known for known, _ in every_setting()])
        return f"{name}: there is no such setting{f'; did you mean {meant}?' if meant else ''}"
    return f"{name}: {error['msg'].removeprefix('Value error, ')} (got {_masked(error)})"


def _no_section(error: SettingsError) -> str:
    return f"{error}: give its keys one by one, as in {variable_of('kafka.bootstrap')}"


def _masked(error: Any) -> str:
    secret = any("password" in str(part) for part in error["loc"]) or "password" in error["msg"]
    # The text before the @ of an invalid URL, and its parameters, may hold a password.
    return "***" if secret else re.sub(r"\?.+'", "?***'", re.sub(r"[^/@]+@", "***@", repr(error["input"])))[:80]
