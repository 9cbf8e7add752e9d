"""Reads settings, and reports all errors at once."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import SettingsError

from tidemark.core.errors import UsageError
from tidemark.core.settings import document
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
from tidemark.core.settings.section import Section
from tidemark.core.settings.variables import close_to, unknown, variables

# Variables that are not settings: the file, and the marks that the local stack puts on its processes.
OTHER_VARIABLES = frozenset({FILE_ENV, SECURE_ENV, "TIDEMARK_STACK", "TIDEMARK_PROGRAM", "TIDEMARK_CONFIGURATION"})
TEST_PREFIX = "TIDEMARK_TEST_"
AnySection = TypeVar("AnySection", bound=Section)


def load(**flags: Any) -> Settings:
    """Settings from flags by dotted name (None means not given), environment and file.

    Raises
    ------
    UsageError
        Lists every missing or wrong key, and the places that were searched; or the file is no YAML of sections.
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
        file = source or f"no file ({FILE_ENV} is unset)"
        raise _wrong(faults, f"flags, {ENV_PREFIX}* of the environment, {file}")
    if settings.postgres.passfile is not None:
        os.environ["PGPASSFILE"] = str(settings.postgres.passfile)
    return settings


def section_of(file: Path, name: str, kind: type[AnySection]) -> AnySection:
    """One section as a file alone says it; its defaults where there is no file, or nothing of the section in it.

    Raises
    ------
    UsageError
        The file cannot be read, or lists every wrong key of the section.
    """
    return checked(name, document.read(file).get(name, {}) if file.is_file() else {}, kind, str(file))


def checked(name: str, values: Any, kind: type[AnySection], source: str) -> AnySection:
    """A section of these values; raises UsageError that lists every wrong key, and says where they are from."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        faults = [_fault({**detail, "loc": (name, *detail["loc"])}) for detail in error.errors()]
        raise _wrong(faults, source) from error


def _wrong(faults: Sequence[str], source: str) -> UsageError:
    return UsageError(
        "settings are wrong:\n" + "\n".join(f"  {fault}" for fault in faults) + f"\nlooked in: {source}.",
        "correct the keys above; `tidemark settings` lists all with their meaning.",
    )


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
