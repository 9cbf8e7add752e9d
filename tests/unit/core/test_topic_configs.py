"""What a broker does not say of a topic is asked for again, and never taken for a default."""

from __future__ import annotations

from typing import Any

import pytest

from tidemark.core.errors import UnavailableError
from tidemark.core.kafka import configs


class Broker:
    """An admin client of a broker that knows a topic only after some questions, as one that was just created."""

    def __init__(self, unknown: int) -> None:
        self.unknown = unknown

    def describe_configs(self, resources: list[Any], config_filter: str) -> dict[str, Any]:
        assert config_filter == "all"
        self.unknown -= 1
        found = {} if self.unknown >= 0 else {"message.timestamp.type": {"value": "LogAppendTime"}}
        return {"topic": {one.name: found for one in resources}}


def test_a_topic_that_was_just_created_is_asked_for_until_the_broker_knows_it() -> None:
    assert configs.topic_configs(Broker(unknown=2), "events") == {"message.timestamp.type": "LogAppendTime"}


def test_no_answer_is_not_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "_KNOWN_WITHIN_S", 0.0)
    with pytest.raises(UnavailableError, match="does not say the settings of topic events"):
        configs.topic_configs(Broker(unknown=1_000_000), "events")
