"""Lua scripts of Redis: one file is one script; what a layout says is filled in by name, as in the SQL of the jobs."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from string import Template
from typing import NamedTuple


class Script(NamedTuple):
    """A script and the name Redis knows it by, once it was loaded."""

    text: str
    sha: str


def script(package: str, name: str, **values: str) -> Script:
    """The script `{name}.lua` of a package with `$values` filled in.

    Raises
    ------
    KeyError
        It asks for a value that was not given.
    """
    text = files(package).joinpath(f"{name}.lua").read_text(encoding="utf-8")
    filled = Template(text).substitute(values)
    return Script(filled, hashlib.sha1(filled.encode(), usedforsecurity=False).hexdigest())
