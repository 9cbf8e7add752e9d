"""Names of settings: those that the environment may use, and what was meant by one that does not exist."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping

from pydantic import BaseModel

# What Kubernetes puts into each container for a service called `tidemark-…`.
_SERVICE_LINK = re.compile(r".+_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)")


def variables(model: type[BaseModel], prefix: str, delimiter: str) -> Iterator[str]:
    """Names of environment variables that set a field of a model, or of a section in it; upper case."""
    for name, field in model.model_fields.items():
        variable = f"{prefix}{name.upper()}"
        yield variable
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from variables(field.annotation, f"{variable}{delimiter}", delimiter)


def section(model: type[BaseModel], path: Iterable[object]) -> Iterable[str]:
    """Names of the fields at a path of sections, `()` for the top."""
    for part in path:
        field = model.model_fields.get(str(part))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return ()
        model = field.annotation
    return model.model_fields


def unknown(environment: Mapping[str, str], prefix: str, known: Iterable[str]) -> dict[str, str]:
    """Variables that begin with the prefix and set nothing, each with what was meant, or an empty text."""
    names = {name.removeprefix(prefix) for name in known}
    found = {}
    for variable in sorted(environment):
        name = variable.upper().removeprefix(prefix)
        if not variable.upper().startswith(prefix) or name in names or _is_service_link(variable, environment):
            continue
        meant = close_to(name, names)
        found[variable] = f"{prefix}{meant}" if meant else ""
    return found


def close_to(name: str, names: Iterable[str]) -> str:
    """The name that is most like this one; empty when none is."""
    there = [*names]
    longer = sorted(one for one in there if one.startswith(name))
    return next(iter([*longer[:1], *difflib.get_close_matches(name, there, n=1)]), "")


def _is_service_link(name: str, environment: Mapping[str, str]) -> bool:
    if not _SERVICE_LINK.fullmatch(name):
        return False
    return not name.endswith("_PORT") or "_SERVICE_PORT" in name or environment[name].startswith(("tcp://", "udp://"))
