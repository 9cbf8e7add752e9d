"""Roles of `tidemark serve`: which are configured, what is said of those that are not, and what they are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tidemark.cli.main import app
from tidemark.core.errors import UsageError
from tidemark.core.settings import Settings, load
from tidemark.serve.roles import ROLES, chosen, not_configured, services_of

PLAIN = Settings()
WEBHOOKS = '[{"receiver": "crm", "types": ["limit.*"], "severities": ["critical"], "tenants": ["acme"]}]'


def settings(**changes: Any) -> Settings:
    return PLAIN.with_changes({name.replace("__", "."): value for name, value in changes.items()})


def test_the_roles_are_those_that_the_documentation_names() -> None:
    assert list(ROLES) == [
        "live", "quotas", "alerts", "deliver", "respond", "close", "reconcile", "archive", "retention",
        "health", "resubmit", "api", "web",
    ]  # fmt: skip
    page = (Path(__file__).parents[3] / "docs/operations.md").read_text()
    assert all(f"| `{name}` |" in page for name in ROLES)


def test_a_role_runs_by_default_when_it_is_configured() -> None:
    assert chosen(PLAIN, None) == ["live", "quotas", "alerts", "deliver", "close", "reconcile", "health"]
    assert not_configured(PLAIN) == {
        "respond": "responses.suspend or responses.webhooks", "archive": "archive.dir",
        "retention": "a setting of `retention`", "resubmit": "resubmit.jobs", "api": "api.listen",
        "web": "web.listen",
    }  # fmt: skip
    every = settings(
        responses__suspend=True,
        archive__dir="archive",
        retention__hour_days=40,
        resubmit__jobs=("meter",),
        api__listen="127.0.0.1:0",
        web__listen="127.0.0.1:0",
    )
    assert chosen(every, None) == list(ROLES)
    assert not_configured(every) == {}


def test_roles_that_are_named_run_in_the_order_of_the_table_once() -> None:
    assert chosen(PLAIN, ["close", "live", "live"]) == ["live", "close"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["live", "watch"], "there is no role watch"),
        ([], "no role is named"),
        (["live", "archive", "respond"], "respond needs responses.suspend or responses.webhooks; archive needs"),
    ],
)
def test_a_role_that_cannot_run_is_refused(names: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        chosen(PLAIN, names)


def test_each_role_is_made_of_services_at_their_intervals() -> None:
    changes = {"responses__suspend": True, "archive__dir": "archive", "retention__hour_days": 40}
    changes |= {"resubmit__jobs": ("meter",), "resubmit__interval_s": 3}
    every = settings(
        **changes, api__listen="127.0.0.1:0", web__listen="127.0.0.1:0", delivery__threads=2, reconcile__interval_s=7
    )
    made = services_of(every, list(ROLES))
    assert {role: [one.name for one in many] for role, many in made.items()} == {
        "live": ["counters", "leaderboard", "limits", "heartbeat"], "quotas": ["quotas"], "alerts": ["intake"],
        "deliver": ["delivery-1", "delivery-2"], "respond": ["suspend"], "close": ["close"],
        "reconcile": ["reconcile"], "archive": ["archive"], "retention": ["retention"],
        "health": ["health"], "resubmit": ["resubmit"], "api": ["api"], "web": ["web"],
    }  # fmt: skip
    assert made["reconcile"][0].every_s == 7
    assert {one.every_s for one in made["live"]} == {PLAIN.live.refresh_s}


def test_responses_come_from_the_environment_and_pass_on_to_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMARK_RESPONSES__WEBHOOKS", WEBHOOKS)
    loaded = load()
    (asked,) = loaded.responses.webhooks
    assert (asked.known_as, asked.types, asked.severities, asked.tenants) == (
        "webhook:crm", ("limit.*",), ("critical",), ("acme",),
    )  # fmt: skip
    assert [one.name for one in services_of(loaded, chosen(loaded, ["respond"]))["respond"]] == ["webhook:crm"]
    for name, value in loaded.environment().items():
        monkeypatch.setenv(name, value)
    assert load() == loaded


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("RESPONSES__WEBHOOKS", '[{"receiver": "crm"}, {"receiver": "crm"}]', "webhook:crm is there more than once"),
        ("RESPONSES__WEBHOOKS", '[{"receiver": "crm", "severities": ["bad"]}]', "responses.webhooks.0.severities.0"),
        ("RESPONSES__WEBHOOKS", "[{}]", "responses.webhooks.0.receiver"),
        ("RECONCILE__SHARE", "0", "reconcile.share"),
    ],
)
def test_wrong_settings_of_a_role_are_named(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"TIDEMARK_{name}", value)
    with pytest.raises(UsageError, match=message):
        load()


def test_a_check_that_there_is_not_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMARK_RECONCILE__CHECKS", '["everything"]')
    result = CliRunner().invoke(app, ["serve", "--roles", "reconcile"])
    assert isinstance(result.exception, UsageError)
    assert "no check everything" in str(result.exception)


def test_a_role_that_there_is_not_cannot_be_expected_to_run() -> None:
    with pytest.raises(UsageError, match=r"health\.roles names watch"):
        services_of(settings(health__roles=("live", "watch")), ["health"])


def test_the_commands_that_were_services_are_gone() -> None:
    for words in (
        ["live", "watch"], ["watch", "run"], ["alerts", "run"], ["deliver", "run"], ["respond", "run"],
        ["close", "--watch"], ["reconcile", "watch"], ["archive", "run", "--watch"],
    ):  # fmt: skip
        assert CliRunner().invoke(app, words).exit_code == 2, words


def test_jobs_are_not_submitted_where_there_is_no_flink(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemark.serve.roles.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"needs Flink's client.*run it in the image `flink`"):
        services_of(settings(resubmit__jobs=("meter",)), ["resubmit"])
