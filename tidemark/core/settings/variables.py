"""Names of settings: those that the environment may use, and suggestions for names that do not exist."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping

from pydantic import BaseModel

# The default of difflib.get_close_matches.
_ALIKE = 0.6
# What Kubernetes puts into each container for a service called `tidemark-…`.
_SERVICE_LINK = re.compile(r".+_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)")


def variables(model: type[BaseModel], prefix: str, delimiter: str) -> Iterator[str]:
    """Names of environment variables that set a field of a model, or of a section in it; upper case."""
    for name, field in model.model_fields.items():
        variable = f"{prefix}{name.upper()}"
        yield variable
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from variables(field.annotation, f"{variable}{delimiter}", delimiter)


def unknown(environment: Mapping[str, str], prefix: str, known: Iterable[str]) -> dict[str, str]:
    """Variables with the prefix that set nothing, each with a suggestion, or an empty text."""
    names = {name.removeprefix(prefix) for name in known}
    suggestions = {}
    for variable in sorted(environment):
        name = variable.upper().removeprefix(prefix)
        if not variable.upper().startswith(prefix) or name in names or _is_service_link(variable, environment):
            continue
        meant = close_to(name, names)
        suggestions[variable] = f"{prefix}{meant}" if meant else ""
    return suggestions


def close_to(name: str, names: Iterable[str]) -> str:
    """The most similar setting or variable, in any section; empty when there is no similar one.

    Only words matter, not their order or the section: `tick_ms` and `meter_tick_ms` both mean `meter.tick_ms`.
    """
    best, meant = _ALIKE, ""
    for known in names:
        for form in (known, re.split(r"\.|__", known)[-1]):
            ratio = difflib.SequenceMatcher(None, _words(name), _words(form)).ratio()
            if ratio > best:
                best, meant = ratio, known
    return meant


def _words(name: str) -> str:
    return " ".join(sorted(filter(None, re.split(r"\.|_", name.lower()))))


def _is_service_link(name: str, environment: Mapping[str, str]) -> bool:
    if not _SERVICE_LINK.fullmatch(name):
        return False
    return not name.endswith("_PORT") or "_SERVICE_PORT" in name or environment[name].startswith(("tcp://", "udp://"))
