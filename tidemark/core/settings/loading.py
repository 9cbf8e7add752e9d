"""Reads settings, and says at once all that is wrong with them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsError

from tidemark.core.errors import UsageError
from tidemark.core.settings.model import (
    ENV_PREFIX,
    FILE_ENV,
    Settings,
    every_setting,
    nested,
    settings_file,
    variable_of,
)


def load(**flags: Any) -> Settings:
    """Settings from flags by dotted name (None means not given), environment and file.

    Raises
    ------
    UsageError
        Lists every missing or wrong key at once, and where each was looked for.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    source = settings_file()
    try:
        settings = Settings(**nested(given))
    except (ValidationError, SettingsError) as error:
        faults = [_fault(one) for one in error.errors()] if isinstance(error, ValidationError) else [_no_section(error)]
        raise UsageError(
            "settings are wrong:\n" + "\n".join(f"  {fault}" for fault in faults) + "\nlooked in: flags, "
            f"{ENV_PREFIX}* of the environment, {source or f'no file ({FILE_ENV} is unset)'}.",
            "correct the keys above; `tidemark settings` lists all with their meaning.",
        ) from None
    if settings.postgres.passfile is not None:
        os.environ["PGPASSFILE"] = str(settings.postgres.passfile)
    return settings


def close_to(name: str, names: Iterable[str]) -> str:
    """The dotted name that is most like this one, whichever section it was looked for in; empty when none is.

    `tick_ms` and `meter_tick_ms` both mean `meter.tick_ms`: words count, and neither their order nor the section.
    """
    best, meant = 0.0, ""
    for one in names:
        key = one.rpartition(".")[2]
        for form in (one, key):
            ratio = difflib.SequenceMatcher(None, _words(name), _words(form)).ratio()
            if ratio > max(best, _ALIKE):
                best, meant = ratio, one
    return meant


# As difflib.get_close_matches has it.
_ALIKE = 0.6


def _words(name: str) -> str:
    return " ".join(sorted(name.lower().replace(".", "_").split("_")))


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
    return "***" if secret else repr(error["input"])[:80]
