"""The demo takes a stack whose events have their own clock, and leaves any other as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.local.paths import Paths
from infra.local.stack import Stack
from tidemark.cli import demo
from tidemark.core import topics
from tidemark.core.errors import UsageError
from tidemark.core.settings import FILE_ENV, Settings, load
from tidemark.demo.flights import Period


class Reached(Exception):  # noqa: N818 - no fault
    """The demo has come as far as its topics."""


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """A stack that `up` has just started."""
    made = Stack(Paths.of(tmp_path / "stack"))
    made.open_http()
    monkeypatch.setenv(FILE_ENV, str(made.paths.settings))
    monkeypatch.setattr(demo, "bring_up", lambda *_, **__: load())
    return made


def test_a_stack_whose_events_have_the_clock_of_the_broker_is_left_as_it_is(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topics, "exists", lambda *_: True)
    monkeypatch.setattr(topics, "has_create_time", lambda *_: False)
    before = stack.paths.settings.read_text()
    with pytest.raises(UsageError, match=r"usage\.events has LogAppendTime") as refused:
        demo.start(stack, Period.QUARTER)
    assert "tidemark demo --state-dir .tidemark/demo" in refused.value.fix
    assert f"tidemark clean --state-dir {stack.paths.root}" in refused.value.fix
    assert stack.paths.settings.read_text() == before


@pytest.mark.parametrize("there", [False, True])
def test_the_settings_of_the_demo_are_those_that_it_goes_on_with_and_stay(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    def apply(settings: Settings, **_: Any) -> None:
        assert settings.close.max_dead_letters == demo.DEMO_SETTINGS["close.max_dead_letters"]
        raise Reached

    monkeypatch.setattr(topics, "exists", lambda *_: there)
    monkeypatch.setattr(topics, "has_create_time", lambda *_: True)
    monkeypatch.setattr(topics, "apply", apply)
    with pytest.raises(Reached):
        demo.start(stack, Period.QUARTER)
    assert load().close.max_dead_letters == demo.DEMO_SETTINGS["close.max_dead_letters"]
