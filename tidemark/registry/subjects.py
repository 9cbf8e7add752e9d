"""Subjects of a run: the value of each topic that has a contract, named as TopicNameStrategy names it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from schemas import ALIASES, TOPICS, topic_schema
from tidemark.core.settings import Settings
from tidemark.registry.draft7 import draft7


@dataclass(frozen=True, slots=True)
class Subject:
    """A subject of the registry.

    Parameters
    ----------
    name:
        Name of the topic with `-value`.
    contract:
        Which contract it is, as `schemas.TOPICS` names them.
    schema:
        JSON Schema, draft 7, as text.
    """

    name: str
    contract: str
    schema: str


def topics_of(settings: Settings) -> Mapping[str, str]:
    """Contract of each topic of a run, by the name that the topic has."""
    names = settings.names
    own = {
        settings.topics.events: "usage.events", settings.topics.redrive: "usage.events.redrive",
        names.deltas: "usage.deltas", names.dlq: "usage.dlq", names.alerts: "usage.alerts",
        names.closes: "usage.closes", names.corrections: "usage.corrections",
    }  # fmt: skip
    assert {*own.values()} == {*TOPICS, *ALIASES}  # noqa: S101 - a topic that is added is added here too
    return own


def subjects(settings: Settings) -> list[Subject]:
    """All subjects of a run."""
    return [
        Subject(f"{topic}-value", contract, json.dumps(draft7(topic_schema(contract)), ensure_ascii=False))
        for topic, contract in topics_of(settings).items()
    ]
