"""Effective settings of a topic."""

from __future__ import annotations

import time
from typing import Any

from kafka.admin import ConfigResource, ConfigResourceType

from tidemark.core.errors import UnavailableError

_KNOWN_WITHIN_S = 5.0
_AGAIN_S = 0.1


def topic_configs(admin: Any, topic: str) -> dict[str, str]:
    """Settings of a topic with the defaults of the brokers, by name.

    Raises
    ------
    UnavailableError
        The broker does not say them.
    """
    deadline = time.monotonic() + _KNOWN_WITHIN_S
    resource = ConfigResource(ConfigResourceType.TOPIC, topic)
    # The client leaves out the error of a broker that does not know a new topic yet or may not tell: no settings are
    # all that is left of it, and must not be taken for defaults.
    while not (found := admin.describe_configs([resource], config_filter="all")["topic"][topic]):
        if time.monotonic() > deadline:
            raise UnavailableError(
                f"Kafka does not say the settings of topic {topic}.",
                "create it by `tidemark topics apply`, or grant this login DESCRIBE_CONFIGS on it.",
            )
        time.sleep(_AGAIN_S)
    return {name: str(entry["value"]) for name, entry in found.items()}
