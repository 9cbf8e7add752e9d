"""TLS to a real Postgres from one URL: psycopg and the JDBC sink verify the same, and refuse the same."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from infra.local.provision import locations
from infra.local.tls import Certificates
from tests.integration.secured_postgres import CERTIFIED, SecuredPostgres
from tests.ports import free_port
from udfs import postgres as low_level

TABLE = "public.by_tls"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredPostgres]:
    made = SecuredPostgres(tmp_path_factory.mktemp("pg"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Another authority, which has vouched for nobody here."""
    return Certificates.make(tmp_path_factory.mktemp("stranger") / "tls")


@pytest.fixture(autouse=True)
def _passwords(server: SecuredPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSFILE", str(server.paths.passfile))


def over(url: str) -> tuple[str, bool]:
    """Login and TLS of a connection as tools and workers open it."""
    with low_level.connect(url, statement_timeout_ms=5_000, application_name="test") as connection:
        row = connection.execute("SELECT session_user, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
        assert row is not None
        return row[0], row[1]


def client_key(server: SecuredPostgres) -> str:
    """Parameters of the certificate of the tools; the key in the form that both drivers read."""
    made, key = server.certificates, server.certificates.folder / "tools.pk8"
    command = ["openssl", "pkcs8", "-topk8", "-nocrypt", "-outform", "DER", "-in", made.key("tools"), "-out", key]
    subprocess.run(command, check=True, capture_output=True)
    key.chmod(0o600)
    return f"&sslcert={made.certificate('tools')}&sslkey={key}"


def test_a_verified_url_reaches_the_server_by_tls(server: SecuredPostgres) -> None:
    assert over(server.url()) == ("tidemark_writer", True)
    assert over(server.url("ops_url")) == ("tidemark_ops", True)


def test_the_second_host_is_taken_when_the_first_is_away(server: SecuredPostgres) -> None:
    several = server.url().replace("@", f"@127.0.0.1:{free_port()},").replace("?", "?target_session_attrs=read-write&")
    assert over(several) == ("tidemark_writer", True)


def test_without_tls_nobody_comes_in(server: SecuredPostgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        over(server.url().partition("?")[0] + "?sslmode=disable")


def test_another_authority_and_another_name_are_refused(server: SecuredPostgres, stranger: Certificates) -> None:
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        over(server.url().replace(str(server.certificates.authority), str(stranger.authority)))
    with pytest.raises(psycopg.OperationalError, match="does not match host name"):
        over(server.url().replace("@127.0.0.1", "@localhost"))


def test_a_login_that_needs_a_certificate_shows_it(server: SecuredPostgres) -> None:
    url = server.url("ledger_url")
    with pytest.raises(psycopg.OperationalError, match="certificate"):
        over(url)
    assert over(url + client_key(server)) == (CERTIFIED, True)


def test_the_jdbc_sink_verifies_the_same(server: SecuredPostgres, stranger: Certificates, tmp_path: Path) -> None:
    with psycopg.connect(server.url("owner_url"), autocommit=True) as owner:
        owner.execute(f"SET ROLE tidemark_owner; CREATE TABLE {TABLE} (k text PRIMARY KEY, v bigint)".encode())
        owner.execute(f"GRANT SELECT, INSERT, UPDATE ON {TABLE} TO tidemark_writer, {CERTIFIED}".encode())
        wrong = server.url().replace(str(server.certificates.authority), str(stranger.authority))
        refused = insert(wrong, tmp_path)
        assert refused.returncode == 1
        assert "PKIX path" in refused.stderr, refused.stderr[-3_000:]
        assert owner.execute(f"SELECT count(*) FROM {TABLE}".encode()).fetchone() == (0,)
        several = server.url("ledger_url").replace("@", f"@127.0.0.1:{free_port()},") + client_key(server)
        done = insert(several, tmp_path)
        assert done.returncode == 0, done.stderr[-3_000:]
        assert owner.execute(f"SELECT k, v FROM {TABLE}".encode()).fetchall() == [("by the sink", 1)]


def insert(url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the sink in a client of its own, whose JVM finds the passwords."""
    import pyflink  # noqa: PLC0415  slow to import, and only this test needs it

    home, lib = Path(pyflink.__file__).parent, folder / "lib"
    if not lib.is_dir():
        lib.mkdir()
        for jar in (*home.joinpath("lib").glob("*.jar"), *locations().flink_jars.glob("*.jar")):
            (lib / jar.name).symlink_to(jar)
    environment = {**os.environ, "FLINK_HOME": str(home), "FLINK_LIB_DIR": str(lib)}
    return subprocess.run(
        [sys.executable, "-m", "tests.jdbc_insert", url, TABLE], env=environment, capture_output=True, text=True,
        check=False, timeout=180, cwd=Path(__file__).parents[3],
    )  # fmt: skip
