"""Which installed distributions a distribution needs, by its own metadata."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# What the images have, of services and of Flink, and what tests need beside it; and what builds all of it.
SERVICES = ("tidemark-metering[api,s3,trace]", "tidemark-client[kafka]")
FLINK = (*SERVICES, "tidemark-metering[jobs]")
DEVELOPED = (*FLINK, "tidemark-metering[dev]")
BUILDERS = ("pip", "setuptools")


def closure(roots: Iterable[str]) -> set[str]:
    """Canonical names of all that these requirements bring, without themselves."""
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(root) for root in roots]
    own = {canonicalize_name(root.name) for root in waiting}
    while waiting:
        requirement = waiting.pop()
        for extra in requirement.extras or {""}:
            if (name := canonicalize_name(requirement.name), extra) not in seen:
                seen.add((name, extra))
                waiting += _needed(name, extra)
    return {name for name, _extra in seen} - own


def _needed(name: str, extra: str) -> list[Requirement]:
    try:
        every = map(Requirement, requires(name) or ())
    except PackageNotFoundError:
        return []  # `make setup` brings it
    return [one for one in every if one.marker is None or one.marker.evaluate({"extra": extra})]
