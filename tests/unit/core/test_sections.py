"""Sections of the settings: where values come from, what is wrong with them, and how other processes get them."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest

from tidemark.core.errors import UsageError
from tidemark.core.settings import FILE_ENV, Settings, every_setting, flat, load, nested, variable_of
from tidemark.core.settings.jobs import PROFILES, MeterSettings

# What a setting of no section means.
MEANT = {
    "kafka_bootstrap": "kafka.bootstrap",
    "events_topic": "topics.events",
    "grace_s": "events.grace_s",
    "tick_ms": "meter.tick_ms",
    "catalog_schema": "catalog.schema_name",
    "tenant_series": "quotas.tenant_series",
    "heartbeat_s": "heartbeat.idle_s",
    "alert_group_wait_s": "alerts.group_wait_s",
    "retention_minute_days": "retention.minute_days",
    "close.max_lag": "close.max_lag_s",
    "meter.customer_windows": "rollup.customer_windows",
    "xyzzy": "",
}


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(FILE_ENV, raising=False)


def written(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    Path("settings.yaml").write_text(text)
    monkeypatch.setenv(FILE_ENV, "settings.yaml")


def test_flags_beat_the_environment_which_beats_the_file_key_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    written(monkeypatch, "redis: {url: 'redis://file', timeout_ms: 20, retry_ms: 200}\nrun_id: file\n")
    monkeypatch.setenv("TIDEMARK_REDIS__TIMEOUT_MS", "30")
    monkeypatch.setenv("TIDEMARK_REDIS__RETRY_MS", "300")
    redis = load(**{"redis.retry_ms": 400, "run_id": None}).redis
    assert (redis.url, redis.timeout_ms, redis.retry_ms, redis.password) == ("redis://file", 30, 400, None)
    assert load().run_id == "file"


def test_all_faults_are_named_at_once_with_where_they_were_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    written(monkeypatch, "grace_s: 5\nkafka: {bootstrp: 'h:1'}\nredis: {url: 'redis://u:hunter2@h'}\n")
    monkeypatch.setenv("TIDEMARK_METER__TICK_MS", "often")
    with pytest.raises(UsageError) as refused:
        load(**{"close.settle_s": 0})
    lines = refused.value.what.splitlines()
    assert {line.split(": ")[0].strip() for line in lines[1:-1]} == {
        "grace_s", "kafka.bootstrp", "redis.url", "meter.tick_ms", "close.settle_s",
    }  # fmt: skip
    assert "  kafka.bootstrp: there is no such setting; did you mean kafka.bootstrap?" in lines
    assert "hunter2" not in refused.value.what
    assert lines[-1] == "looked in: flags, TIDEMARK_* of the environment, settings.yaml."


@pytest.mark.parametrize(("name", "meant"), MEANT.items())
def test_a_key_of_no_section_is_refused_with_the_one_that_was_meant(name: str, meant: str) -> None:
    message = f"{name}: there is no such setting{f'; did you mean {meant}?' if meant else ''}\n"
    with pytest.raises(UsageError, match=re.escape(message)):
        load(**{name: "x"})


def test_a_section_in_a_variable_by_itself_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMARK_KAFKA", "127.0.0.1:9092")
    with pytest.raises(UsageError, match="TIDEMARK_KAFKA__BOOTSTRAP"):
        load()


def test_changes_go_by_dotted_name_and_leave_the_rest() -> None:
    before = Settings(redis={"timeout_ms": 20})
    after = before.with_changes({"redis.url": "redis://h", "run_id": "r1", "reconcile.tolerance": Decimal(1)})
    assert (after.redis.url, after.redis.timeout_ms, after.run_id) == ("redis://h", 20, "r1")
    assert after.reconcile.tolerance == 1
    assert after.kafka is before.kafka
    assert before.run_id == ""


@pytest.mark.parametrize("name", ["tick_ms", "meter.tick", "meter", "none.such", "run_id.x"])
def test_a_change_of_no_setting_is_refused(name: str) -> None:
    with pytest.raises(KeyError):
        Settings().with_changes({name: 1})


def test_another_process_has_the_same_settings_but_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    own = load(**{
        "run_id": "r1", "redis.password": "hunter2", "postgres.passfile": "/a b/pass", "rollup.customer_windows": False,
        "reconcile.tolerance": "0.5", "anomaly.zones": "Etc/UTC;acme=America/New_York", "events.default_tenant": "",
    })  # fmt: skip
    given = own.environment()
    assert "hunter2" not in str(given)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert load() == own.with_changes({"redis.password": None})


def test_a_profile_sets_what_is_not_set_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMARK_METER__BUNDLE_MS", "7")
    meter = load(**{"meter.profile": "throughput"}).meter
    assert (meter.tick_ms, meter.bundle_ms, meter.buffer_timeout_ms) == (1_000, 7, 100)
    changed = {name for name, value in MeterSettings() if getattr(meter, name) != value}
    assert changed == {"profile", "tick_ms", "bundle_ms", "buffer_timeout_ms", "checkpoint_interval_ms"}


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_is_within_the_bounds_of_its_settings(profile: str) -> None:
    MeterSettings(profile=profile)
    assert PROFILES[profile].keys() == {"tick_ms", "bundle_ms", "buffer_timeout_ms", "checkpoint_interval_ms"}


@pytest.mark.parametrize(("tick_ms", "backlog_tick_ms"), [(100, 2_000), (2_000, 100)])
def test_an_event_waits_for_its_delta_no_longer_than_the_longer_tick(tick_ms: int, backlog_tick_ms: int) -> None:
    assert MeterSettings(tick_ms=tick_ms, backlog_tick_ms=backlog_tick_ms).longest_tick_ms == 2_000


def test_an_unknown_profile_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"meter\.profile: Input should be 'latency' or 'throughput'"):
        load(**{"meter.profile": "fast"})


def test_every_setting_has_a_variable_and_a_meaning() -> None:
    names = [name for name, _ in every_setting()]
    assert len({variable_of(name) for name in names}) == len(names)
    assert {*flat(Settings().model_dump())} == {*names}
    assert nested(flat(Settings().model_dump())) == Settings().model_dump()
    assert [name for name, about in every_setting() if not about.description] == []


def test_a_retention_policy_sets_what_is_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not load().retention.is_set
    written(monkeypatch, "retention: {policy: tiered, hour_days: 0, deltas_days: 30}\n")
    found = load().retention
    assert (found.minute_days, found.hour_days, found.events_days, found.deltas_days) == (90, 0, 14, 30)
    # A process that is started with these settings has the same.
    for name, value in load().environment().items():
        if name.startswith("TIDEMARK_RETENTION__"):
            monkeypatch.setenv(name, value)
    assert load().retention == found
    assert load(**{"retention.policy": "keep"}).retention.hour_days == 0
