"""The URL of Postgres for JDBC: nothing that the operator asked for is lost on the way to the writers of the jobs."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.flink import options
from jobs.flink.jdbc import jdbc_url
from tidemark.core.settings import Settings
from tidemark.core.settings.postgres_url import CHOICES, FILES, parse

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc",)), min_size=1)


def query(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(jdbc_url(url, "tidemark-rollup").removeprefix("jdbc:")).query))


@pytest.mark.parametrize(
    ("url", "jdbc"),
    [
        ("postgresql://tidemark@db/prod", "db:5432/prod?user=tidemark&"),
        ("postgresql://db:6432/prod", "db:6432/prod?"),
        ("postgres://u@h1:5432,h2,[::1]:6432/d", "h1:5432,h2:5432,[::1]:6432/d?user=u&"),
        ("postgresql://a%26b@h/d%27x", "h:5432/d%27x?user=a%26b&"),
    ],
)
def test_hosts_user_and_database_are_those_of_the_url(url: str, jdbc: str) -> None:
    wanted = f"jdbc:postgresql://{jdbc}reWriteBatchedInserts=true&ApplicationName=tidemark-rollup"
    assert jdbc_url(url, "tidemark-rollup") == wanted


def test_the_checks_of_the_server_reach_the_driver() -> None:
    files = "sslrootcert=/etc/ca.pem&sslcert=/etc/me.pem&sslkey=/etc/me.pk8"
    found = query(f"postgresql://u@h/d?sslmode=verify-full&{files}&channel_binding=require")
    assert found["sslmode"] == "verify-full"
    assert (found["sslrootcert"], found["sslcert"], found["sslkey"]) == ("/etc/ca.pem", "/etc/me.pem", "/etc/me.pk8")
    assert found["channelBinding"] == "require"


def test_the_authorities_of_the_system_are_those_of_the_jvm() -> None:
    found = query("postgresql://h/d?sslmode=verify-full&sslrootcert=system")
    assert found["sslfactory"] == "org.postgresql.ssl.DefaultJavaSSLFactory"
    assert "sslrootcert" not in found


@pytest.mark.parametrize(("attribute", "kind"), [("any", "any"), ("read-write", "primary"), ("primary", "primary")])
def test_the_kind_of_server_has_another_name(attribute: str, kind: str) -> None:
    assert query(f"postgresql://h1,h2/d?target_session_attrs={attribute}")["targetServerType"] == kind


def test_each_known_parameter_is_passed_on() -> None:
    for name in (*CHOICES, *FILES):
        value = CHOICES[name][-1] if name in CHOICES else f"/etc/{name}"
        other = {"sslcert": "&sslkey=/k", "sslkey": "&sslcert=/c"}.get(name, "")
        assert len(query(f"postgresql://h/d?{name}={value}{other}")) == 3 + bool(other)


@given(TEXTS, TEXTS, TEXTS)
def test_any_user_database_and_file_comes_through_and_brings_no_option(user: str, database: str, file: str) -> None:
    encoded = [quote(text, safe="") for text in (user, database, f"/{file}")]
    url = "postgresql://{}@h/{}?sslrootcert={}".format(*encoded)
    assert parse(url).user == user
    made = jdbc_url(url, "a")
    assert "'" not in made
    path, _, options_text = made.removeprefix("jdbc:postgresql://h:5432/").partition("?")
    assert unquote(path) == database
    pairs = [pair.split("=") for pair in options_text.split("&")]
    assert [name for name, _ in pairs] == ["user", "reWriteBatchedInserts", "ApplicationName", "sslrootcert"]
    assert (unquote(pairs[0][1]), unquote(pairs[3][1])) == (user, f"/{file}")


def test_the_sinks_take_it() -> None:
    settings = Settings(postgres={"url": "postgresql://u@h/d?sslmode=verify-full"})
    assert "ApplicationName=tidemark-rollup&sslmode=verify-full'" in options.upserts(settings, "rollup", flush_rows=1)
