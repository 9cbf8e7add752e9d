"""What the brokers accept: the least of them counts, and one that refuses to say does not."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest

from tidemark.core.kafka import brokers
from tidemark.core.settings import Settings


class Cluster:
    """An admin client; settings by broker, none where it refuses to say."""

    def __init__(self, limits: dict[str, int | None]) -> None:
        self.limits = limits

    def describe_cluster(self) -> dict[str, Any]:
        return {"brokers": [{"broker_id": int(one)} for one in self.limits]}

    def describe_configs(self, resources: list[Any], config_filter: str) -> dict[str, Any]:
        assert config_filter == "all"
        assert [one.name for one in resources] == [*self.limits]
        return {
            "broker": {
                one: {} if limit is None else {brokers.TRANSACTION_LIMIT: {"value": str(limit)}}
                for one, limit in self.limits.items()
            }
        }


@pytest.mark.parametrize(
    ("limits", "least"), [({"1": 900_000, "2": 90_000_000}, 900_000), ({"1": None, "2": 5}, 5), ({"1": None}, None)]
)
def test_the_least_of_the_brokers_that_say_it_counts(
    monkeypatch: pytest.MonkeyPatch, limits: dict[str, int | None], least: int | None
) -> None:
    monkeypatch.setattr(brokers.clients, "admin", lambda _: nullcontext(Cluster(limits)))
    assert brokers.transaction_limit_ms(Settings().kafka) == least
