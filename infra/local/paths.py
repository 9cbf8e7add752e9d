"""Paths of one local stack, and of the cache that all stacks of a machine share."""

from __future__ import annotations

import fcntl
import os
import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from infra.local.tls import Certificates
from tidemark.core.errors import UnavailableError, UsageError

DEFAULT_STATE_DIR = Path(".tidemark/local")
SECURED_STATE_DIR = Path(".tidemark/secured")
# Flink's shell scripts and supervisord split on spaces and read some signs as their own.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9._/+@-]+")
# The longest Unix socket address Linux takes is 107 bytes; supervisord adds `.<pid>` while it starts.
_LONGEST_SOCKET = 96


@dataclass(frozen=True, slots=True)
class Paths:
    """Everything below the state directory of one stack."""

    root: Path

    @classmethod
    def of(cls, state_dir: Path | str | None = None) -> Paths:
        """Paths of a state directory (default: `.tidemark/local` below the working directory).

        Raises
        ------
        UsageError
            The path has characters that Flink's scripts cannot handle, or is a file or within one.

        """
        root = Path(state_dir or DEFAULT_STATE_DIR).absolute()
        if not next(path for path in (root, *root.parents) if path.exists()).is_dir():
            raise UsageError(f"{root} is a file, or within one.", "name a folder with --state-dir.")
        for path in (root, Path(sys.prefix)):
            if not _PLAIN_PATH.fullmatch(str(path)):
                raise UsageError(
                    f"the path {str(path)!r} has a character outside A-Za-z0-9._/+@-, and Flink's scripts break.",
                    "move the checkout, or name another --state-dir.",
                )
        return cls(root)

    @property
    def settings(self) -> Path:
        """Settings file that `tidemark.core.settings` reads."""
        return self.root / "settings.yaml"

    @property
    def ports(self) -> Path:
        """Ports chosen for this stack, kept so that they survive `down`."""
        return self.root / "ports.yaml"

    @property
    def made(self) -> bool:
        """Whether the folder is one of a stack; ports may have been deleted, so that others are chosen."""
        return self.ports.is_file() or self.admin_passfile.is_file()

    @property
    def conf(self) -> Path:
        """Generated configuration; written anew by every `up`."""
        return self.root / "conf"

    @property
    def logs(self) -> Path:
        """Logs of the services, one file each, rotated."""
        return self.root / "logs"

    @property
    def data(self) -> Path:
        """Data of the services: Kafka's log, Postgres's and Redis's files, Flink's checkpoints."""
        return self.root / "data"

    @property
    def work(self) -> Path:
        """Scratch space of Flink and of supervisord; of no use after they have stopped."""
        return self.root / "work"

    @property
    def passfile(self) -> Path:
        """Password file (libpq) of all logins that tools and services use."""
        return self.root / "pgpass"

    @property
    def flink_passfile(self) -> Path:
        """Password file (libpq) of Flink's workers."""
        return self.root / "pgpass-flink"

    @property
    def admin_passfile(self) -> Path:
        """Password file (libpq) of the Postgres superuser; read by `up` alone."""
        return self.root / "pgpass-admin"

    def redis_password(self, user: str) -> Path:
        """File with the password of a user of Redis."""
        return self.root / f"redis-{user}"

    @property
    def certificates(self) -> Certificates:
        """Certificates of a secured stack."""
        return Certificates(self.root / "tls")

    @property
    def secured(self) -> bool:
        """Whether the services want TLS and a name; decided when the stack is made."""
        return self.certificates.truststore.is_file()

    def kafka_login(self, user: str) -> Path:
        """Properties file with the name and the password of a user of Kafka."""
        return self.root / f"kafka-{user}.properties"

    @property
    def kafka_jobs(self) -> Path:
        """Folder with such a file for each job."""
        return self.root / "kafka-jobs"

    @property
    def kubeconfig(self) -> Path:
        """Credentials by which two JobManagers reach the Kubernetes API that elects one of them."""
        return self.root / "kubeconfig"

    @property
    def supervisor_conf(self) -> Path:
        """Configuration of supervisord."""
        return self.conf / "supervisord.conf"

    @property
    def supervisor_pid(self) -> Path:
        """Pid file of supervisord."""
        return self.work / "supervisord.pid"

    @property
    def supervisor_socket(self) -> Path:
        """Unix socket of supervisord; beside /tmp when the state directory is too deep for one."""
        inside = self.work / "supervisord.sock"
        if len(os.fsencode(inside)) <= _LONGEST_SOCKET:
            return inside
        return Path("/tmp") / f"tidemark-{short_hash(str(self.root))}.sock"  # noqa: S108 - mode 0700, see supervisord.conf

    @property
    def tree(self) -> Path:
        """What the Debian tree gets beside the data of Postgres."""
        return self.conf / "tree"

    @property
    def secrets(self) -> list[Path]:
        """Files with passwords and keys that services read; that of Postgres' superuser is not one."""
        named = [*self.root.glob("redis-*"), *self.root.glob("kafka-*.properties"), *self.kafka_jobs.glob("*")]
        every = [self.passfile, self.flink_passfile, self.kubeconfig, *named, *self.certificates.folder.glob("*")]
        return [path for path in every if path.is_file()]

    @property
    def lock(self) -> Path:
        """Held by `up`, `down` and `clean`; beside the state directory, which `clean` removes."""
        return self.root.parent / f".{self.root.name}.lock"


def short_hash(text: str | bytes) -> str:
    """Twelve hex digits that identify a content."""
    return blake2b(text if isinstance(text, bytes) else text.encode(), digest_size=6).hexdigest()


def cache_dir() -> Path:
    """Directory outside the checkout for what is fetched once a machine: jars and the Debian tree."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tidemark"


@contextmanager
def locked(lock: Path, *, wait: bool, what: str) -> Iterator[None]:
    """Hold a file lock; it ends with the process, so an interrupted run leaves nothing behind.

    Raises
    ------
    UnavailableError
        `wait` is false and another process holds the lock.

    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UnavailableError(f"another process is busy with {what}.", "wait until it has ended.") from None
        yield


def private() -> AbstractContextManager[None]:
    """Whatever is made meanwhile, its owner alone may read."""
    return _masked(0o077)


def shared() -> AbstractContextManager[None]:
    """Whatever is made meanwhile, everybody may read, whatever the caller's own mask is."""
    return _masked(0o022)


@contextmanager
def _masked(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, atomically."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)
