"""Prepares the data directories once: Kafka's storage, Postgres's cluster, role, database and extension."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from infra import redis_users
from infra.local import secured
from infra.local.account import Account
from infra.local.confined import OUTER_USERS_FILE, POSTGRES_DATA, USERS_FILE
from infra.local.paths import Paths, write_private
from infra.local.programs import base_environment, confined, kafka_tool_command, postgres_command
from infra.local.provision import Provisioned
from infra.local.tls import SERVER
from infra.service_settings import (
    DATABASE,
    KAFKA_ADMIN,
    KAFKA_JOBS,
    KAFKA_OPERATOR,
    LOGINS,
    POSTGRES_INITDB,
    REDIS_READER,
    REDIS_USERS,
    ROLE,
)
from tidemark.core.errors import TidemarkError
from tidemark.core.grants import OWNER, ROLES, WRITER

_ADMIN = "postgres"
# Written when a directory is complete; without it the directory is made again, and no service has ever run on it.
_DONE = ".tidemark-complete"
_CLUSTER_ID = "tidemarkAAAAAAAAAAAAAA"  # 16 bytes in base64; a node alone needs no other


def prepare_kafka(paths: Paths, parts: Provisioned) -> None:
    """Format Kafka's storage, once; after Postgres, whose folders every program of a stack gets."""
    data = paths.data / "kafka"
    if (data / _DONE).exists():
        return
    _empty(data)
    Account.of(paths.root).own(data)
    form = ["format", "-t", _CLUSTER_ID, "-c", str(paths.conf / "kafka.properties")]
    with _kafka_users(paths) as users:
        _run(confined(paths, parts, kafka_tool_command(paths, parts, *form, *users)))
    (data / _DONE).touch()


@contextmanager
def _kafka_users(paths: Paths) -> Iterator[list[str]]:
    """Arguments that make the users: no password stands in one, where everybody on the machine would read it."""
    if not paths.secured:
        yield []
        return
    file = paths.conf / "kafka-users"
    argument = secured.write_kafka_users(file, kafka_passwords(paths))
    try:
        Account.of(paths.root).own(file)
        yield [argument]
    finally:
        file.unlink()


def prepare_postgres(paths: Paths, parts: Provisioned) -> None:
    """Make Postgres's cluster, once, and give it the current configuration."""
    _write_tree_files(paths, parts)
    data = paths.data / "postgres"
    account = Account.of(paths.root)
    if not (paths.data / f"postgres{_DONE}").exists():
        _empty(data)
        account.own(data)
        _initdb(paths, parts, account)
        (paths.data / f"postgres{_DONE}").touch()
    files = {paths.conf / "postgres.conf": "tidemark.conf"}
    if paths.secured:
        made = paths.certificates
        (paths.conf / secured.HBA).write_text(secured.postgres_hba())
        files |= {made.certificate(SERVER): secured.SERVER_CERTIFICATE, made.key(SERVER): secured.SERVER_KEY,
                  made.authority: secured.AUTHORITY, paths.conf / secured.HBA: secured.HBA}  # fmt: skip
    for source, name in files.items():
        give(source, data / name, account)


def give(source: Path, target: Path, account: Account) -> None:
    """Copy a file for the user of the stack, and nobody else."""
    target.unlink(missing_ok=True)
    write_private(target, source.read_text())
    account.own(target)


def _write_tree_files(paths: Paths, parts: Provisioned) -> None:
    """Write what the Debian tree gets: users of it and of this machine, with the one that everything runs as."""
    paths.tree.mkdir(exist_ok=True)
    account = Account.of(paths.root)
    for name, root, home in ((USERS_FILE, parts.rootfs, "/tmp"), (OUTER_USERS_FILE, Path("/"), paths.work)):  # noqa: S108
        users = (root / "etc/passwd").read_text()
        write_private(paths.tree / name, f"{users}tidemark:x:{account.uid}:{account.gid}::{home}:/bin/false\n")
    account.show(paths.tree)


def _initdb(paths: Paths, parts: Provisioned, account: Account) -> None:
    # initdb wants an empty data directory.
    password_file = paths.tree / f"pw-{secrets.token_hex(8)}"
    write_private(password_file, passwords(paths.admin_passfile)[_ADMIN])
    try:
        account.own(password_file)
        options = [*POSTGRES_INITDB, f"--username={_ADMIN}", f"--pwfile=/tmp/{password_file.name}"]
        _run(confined(paths, parts, postgres_command(parts, "initdb", "-D", POSTGRES_DATA, *options)))
    finally:
        password_file.unlink(missing_ok=True)


def write_passfiles(paths: Paths) -> None:
    """Make the passwords, once; the files are libpq password files with mode 0600. Flink has that of the jobs alone."""
    if not paths.admin_passfile.exists():
        write_private(paths.admin_passfile, _line(_ADMIN, secrets.token_hex(24)))
    users = passwords(paths.passfile) if paths.passfile.exists() else {}
    users |= {user: secrets.token_hex(24) for user in (ROLE, *LOGINS.values()) if user not in users}
    write_private(paths.passfile, "".join(_line(user, password) for user, password in users.items()))
    write_private(paths.flink_passfile, _line(WRITER, users[WRITER]))


def write_redis_passwords(paths: Paths) -> dict[str, str]:
    """Make the passwords of Redis' users, once, each in a file with mode 0600; returns them."""
    made = {}
    for user in (*REDIS_USERS.values(), REDIS_READER, redis_users.ADMIN):
        file = paths.redis_password(user)
        if not file.exists():
            write_private(file, secrets.token_hex(24) + "\n")
        made[user] = file.read_text().strip()
    return made


def write_kafka_logins(paths: Paths) -> None:
    """Make the users of a secured Kafka, once, each in a properties file with mode 0600."""
    paths.kafka_jobs.mkdir(mode=0o700, exist_ok=True)
    files = {KAFKA_ADMIN: paths.kafka_login(KAFKA_ADMIN), KAFKA_OPERATOR: paths.kafka_login(KAFKA_OPERATOR)}
    files |= {user: paths.kafka_jobs / f"{job}.properties" for job, user in KAFKA_JOBS.items()}
    for user, file in files.items():
        if not file.exists():
            write_private(file, f"username={user}\npassword={secrets.token_hex(24)}\n")


def kafka_passwords(paths: Paths) -> dict[str, str]:
    """Passwords of the users of Kafka."""
    files = [paths.kafka_login(KAFKA_ADMIN), paths.kafka_login(KAFKA_OPERATOR), *paths.kafka_jobs.glob("*.properties")]
    found = [dict(line.split("=", 1) for line in file.read_text().splitlines()) for file in files]
    return {login["username"]: login["password"] for login in found}


def _line(user: str, password: str) -> str:
    return f"127.0.0.1:*:*:{user}:{password}\n"


def passwords(passfile: Path) -> dict[str, str]:
    """Passwords by user, of a file that `write_passfiles` wrote."""
    lines = (line.split(":") for line in passfile.read_text().splitlines())
    return {user: password for _host, _port, _database, user, password in lines}


def connect_admin(paths: Paths, port: int, database: str = _ADMIN) -> psycopg.Connection:
    """Connect as the superuser, each statement its own transaction."""
    authority = str(paths.certificates.authority) if paths.secured else None
    return psycopg.connect(
        host="127.0.0.1", port=port, user=_ADMIN, dbname=database, passfile=str(paths.admin_passfile), autocommit=True,
        connect_timeout=3, sslmode="verify-full" if paths.secured else None, sslrootcert=authority,
    )  # fmt: skip


def prepare_database(paths: Paths, port: int) -> None:
    """Make roles, logins, database and extension where they are missing; passwords are always the password file's."""
    with connect_admin(paths, port) as connection:
        for role in (ROLE, *ROLES):
            _make_role(connection, role)
        connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(OWNER), sql.Identifier(ROLE)))
        # A backup is tried in a database that is made for it.
        connection.execute(sql.SQL("ALTER ROLE {} CREATEDB").format(sql.Identifier(ROLE)))
        for login, password in passwords(paths.passfile).items():
            statement = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}")
            connection.execute(
                statement.format(sql.Identifier(login), sql.Literal(_verifier(connection, login, password)))
            )
        make_database(connection, DATABASE)
    with connect_admin(paths, port, DATABASE) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")


def make_database(connection: psycopg.Connection, name: str) -> None:
    """Make a database where it is missing, owned by those who migrate."""
    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
        identifiers = map(sql.Identifier, (name, OWNER))
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(*identifiers))


def _make_role(connection: psycopg.Connection, role: str) -> None:
    if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
        connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role)))


def _verifier(connection: psycopg.Connection, login: str, password: str) -> str:
    """What Postgres keeps of a password: the password itself would be in its log, should statements be logged."""
    encrypted: bytes = connection.pgconn.encrypt_password(password.encode(), login.encode(), b"scram-sha-256")
    return encrypted.decode()


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
