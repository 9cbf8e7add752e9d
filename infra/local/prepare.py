"""Prepares the data directories once: Kafka's storage, Postgres's cluster, role, database and extension."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from pathlib import Path

import psycopg
from psycopg import sql

from infra.local.paths import Paths, write_private
from infra.local.programs import base_environment, kafka_tool_command, postgres_command
from infra.local.provision import Provisioned
from infra.service_settings import DATABASE, POSTGRES_INITDB, ROLE
from tidemark.core.access import READER
from tidemark.core.errors import TidemarkError

_ADMIN = "postgres"
# Written when a directory is complete; without it the directory is made again, and no service has ever run on it.
_DONE = ".tidemark-complete"
_CLUSTER_ID = "tidemarkAAAAAAAAAAAAAA"  # 16 bytes in base64; a node alone needs no other


def prepare_kafka(paths: Paths, parts: Provisioned) -> None:
    """Format Kafka's storage, once."""
    data = paths.data / "kafka"
    if (data / _DONE).exists():
        return
    _empty(data)
    configuration = str(paths.conf / "kafka.properties")
    _run(kafka_tool_command(paths, parts, "format", "-t", _CLUSTER_ID, "-c", configuration))
    (data / _DONE).touch()


def prepare_postgres(paths: Paths, parts: Provisioned) -> None:
    """Make Postgres's cluster, once, and give it the current configuration."""
    data = paths.data / "postgres"
    user = _postgres_user(parts.rootfs)
    if not (paths.data / f"postgres{_DONE}").exists():
        _empty(data)
        os.chown(data, *user)
        data.chmod(0o700)
        _initdb(paths, parts, user)
        (paths.data / f"postgres{_DONE}").touch()
    shutil.copyfile(paths.conf / "postgres.conf", data / "tidemark.conf")
    os.chown(data / "tidemark.conf", *user)


def _initdb(paths: Paths, parts: Provisioned, user: tuple[int, int]) -> None:
    # The password goes in by a file inside the (private) mount's parent: initdb wants an empty data directory.
    password_file = parts.rootfs / "tmp" / f"pw-{secrets.token_hex(8)}"
    write_private(password_file, _password(paths.admin_passfile, _ADMIN))
    try:
        os.chown(password_file, *user)
        options = [*POSTGRES_INITDB, f"--username={_ADMIN}", f"--pwfile=/tmp/{password_file.name}"]
        _run(postgres_command(paths, parts, "initdb", "-D", "/srv/tidemark", *options))
    finally:
        password_file.unlink(missing_ok=True)


def _postgres_user(rootfs: Path) -> tuple[int, int]:
    """User and group id of `postgres` inside the tree; outside they may belong to any user, or to none."""
    for line in (rootfs / "etc/passwd").read_text().splitlines():
        name, _, uid, gid, *_ = line.split(":")
        if name == _ADMIN:
            return int(uid), int(gid)
    raise TidemarkError(f"{rootfs} has no user {_ADMIN}.", f"delete {rootfs}; `tidemark up` builds it again.")


def write_passfiles(paths: Paths) -> None:
    """Make the passwords, once; both files are libpq password files with mode 0600."""
    for path, user in ((paths.admin_passfile, _ADMIN), (paths.passfile, ROLE)):
        if not path.exists():
            write_private(path, f"127.0.0.1:*:*:{user}:{secrets.token_hex(24)}\n")


def _password(passfile: Path, user: str) -> str:
    host, port, database, name, password = passfile.read_text().strip().split(":")
    assert (host, port, database, name) == ("127.0.0.1", "*", "*", user)  # noqa: S101 - our own file
    return password


def connect_admin(paths: Paths, port: int, database: str = _ADMIN) -> psycopg.Connection:
    """Connect as the superuser, each statement its own transaction."""
    return psycopg.connect(
        host="127.0.0.1", port=port, user=_ADMIN, dbname=database, passfile=str(paths.admin_passfile), autocommit=True,
        connect_timeout=3,
    )  # fmt: skip


def prepare_database(paths: Paths, port: int) -> None:
    """Make role, database and extension where they are missing; the password is always the password file's."""
    role, database = sql.Identifier(ROLE), sql.Identifier(DATABASE)
    with connect_admin(paths, port) as connection:
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [ROLE]).fetchone():
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [READER]).fetchone():
            connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(READER)))
        password = sql.Literal(_password(paths.passfile, ROLE))
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, password))
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, role))
    with connect_admin(paths, port, DATABASE) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")


def _empty(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, env=base_environment(), check=False, text=True, capture_output=True)
    if done.returncode != 0:
        output = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise TidemarkError(
            f"`{' '.join(command[:1] + command[-4:])}` ended with {done.returncode}; its output:\n{output}\n"
        )
