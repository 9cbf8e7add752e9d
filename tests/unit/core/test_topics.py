"""How topics are created: what producers write is bounded after it is decompressed."""

from __future__ import annotations

from tidemark.core.settings import Settings
from tidemark.core.topics import configs_of


def test_the_size_of_events_is_checked_after_they_are_compressed_by_the_broker() -> None:
    # With the default, `producer`, 13 kB of zstd are stored that are 400 MiB in the heap of who reads them.
    settings = Settings()
    configs = configs_of(settings, "LogAppendTime", ledger=True)
    for topic in (settings.topics.events, settings.topics.redrive):
        assert configs[topic]["compression.type"] == "lz4"
    assert configs[settings.topics.events]["message.timestamp.type"] == "LogAppendTime"


def test_a_replay_has_no_topics_of_the_ledger() -> None:
    settings = Settings()
    both = configs_of(settings, "CreateTime", ledger=True).keys() - configs_of(settings, "CreateTime", ledger=False)
    assert both == {settings.names.closes, settings.names.corrections}
