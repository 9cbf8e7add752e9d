"""Fetches the parts of the stack, once a machine: Debian packages, the Debian tree with TimescaleDB, and the jars."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.local import checksums
from infra.local.paths import cache_dir, locked, shared, short_hash
from infra.local.progress import Progress
from infra.versions import DEBIAN_OF_POSTGRES, POSTGRES_MAJOR
from tidemark.core.errors import TidemarkError, UnavailableError

POM = Path(__file__).with_name("pom.xml")
# Program that must exist -> Debian package that brings it.
PACKAGES = {
    "redis-server": "redis-server",
    "mmdebstrap": "mmdebstrap",
    "mvn": "maven",
    "java": "openjdk-17-jre-headless",
}
_ROOTFS_PACKAGES = f"postgresql-{POSTGRES_MAJOR}-timescaledb,postgresql-{POSTGRES_MAJOR}"
# Of pom.xml.
PROFILES = ("flink", "flink-s3", "kafka", "zookeeper")
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Provisioned:
    """Paths of the fetched parts."""

    rootfs: Path
    flink_jars: Path
    flink_s3: Path
    kafka_jars: Path
    zookeeper_jars: Path


def locations() -> Provisioned:
    """Paths of the parts, present or not; a change of versions changes the names, so no stale part is used."""
    pom = short_hash(POM.read_bytes() + checksums.LIST.read_bytes())
    rootfs = short_hash(f"{DEBIAN_OF_POSTGRES} {_ROOTFS_PACKAGES}")
    cache = cache_dir()
    jars = (cache / f"jars-{profile}-{pom}" for profile in PROFILES)
    return Provisioned(cache / f"rootfs-{rootfs}", *jars)


def provision(progress: Progress, *, zookeeper: bool = False) -> Provisioned:
    """Fetch whatever is missing, `zookeeper` where it is wanted; a second call does nothing.

    Raises
    ------
    TidemarkError
        Not root, or a fetch failed three times; the message ends with the output of the program.

    """
    parts = locations()
    # Services read it as another user than who fetched it.
    with shared(), locked(cache_dir() / ".lock", wait=True, what="the cache"):
        _remove_half_made(cache_dir())
        install_packages(progress)
        once(parts.flink_jars, progress, "fetching Flink's connector jars by Maven", _jars("flink"))
        once(parts.flink_s3, progress, "fetching Flink's plugin for S3 by Maven", _jars("flink-s3"))
        once(parts.kafka_jars, progress, "fetching Kafka's jars by Maven", _jars("kafka"))
        if zookeeper:
            once(parts.zookeeper_jars, progress, "fetching ZooKeeper's jars by Maven", _jars("zookeeper"))
        once(parts.rootfs, progress, "building the Debian tree with TimescaleDB", _make_rootfs)
    return parts


def install_packages(progress: Progress, packages: Mapping[str, str] = PACKAGES) -> None:
    """Install the Debian packages whose programs are missing, and leave no service of theirs running."""
    missing = sorted({package for program, package in packages.items() if shutil.which(program) is None})
    if not missing:
        return
    if os.geteuid() != 0:
        raise TidemarkError(
            f"packages are missing: {', '.join(missing)}.", f"as root: apt-get install {' '.join(missing)}"
        )
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with progress.step(f"installing Debian packages: {' '.join(missing)}"):
        _again(lambda: run_program(["apt-get", "update", "-q"], environment))
        _again(lambda: run_program(["apt-get", "install", "-qy", "--no-install-recommends", *missing], environment))
        if "redis-server" in missing:
            _stop_system_redis()


def _stop_system_redis() -> None:
    """Undo what the package's own script may have started: the stack runs Redis itself, on its own port."""
    systemd = Path("/run/systemd/system").is_dir()
    command = ["systemctl", "disable", "--now", "redis-server"] if systemd else ["service", "redis-server", "stop"]
    subprocess.run(command, check=False, capture_output=True)


def once(target: Path, progress: Progress, text: str, make: Callable[[Path], None]) -> None:
    """Make a directory under a temporary name and rename it when complete, so that it is never used incomplete."""
    if target.is_dir():
        return

    def attempt() -> None:
        with _temporary_beside(target) as temporary:
            make(temporary)
            temporary.replace(target)

    with progress.step(text):
        _again(attempt)


@contextmanager
def _temporary_beside(target: Path) -> Iterator[Path]:
    temporary = Path(tempfile.mkdtemp(prefix=".half-", dir=target.parent))
    temporary.chmod(0o755)  # apt's own user reads it
    try:
        yield temporary
    finally:
        if temporary.exists():
            remove_tree(temporary)


def _remove_half_made(cache: Path) -> None:
    for left in cache.glob(".half-*"):
        remove_tree(left)


def remove_tree(path: Path, *, last: Path | None = None) -> None:
    """Remove a tree; refuses when something is mounted inside, because removal would delete what is mounted.

    `last` is a file in it that goes after all others: by it a half-removed tree is known.

    Raises
    ------
    TidemarkError
        A mount point lies inside.

    """
    inside = f"{path.resolve()}/"
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    live = [mount for mount in mounts if f"{mount}/".startswith(inside)]
    if live:
        raise TidemarkError(f"{path} holds live mounts: {', '.join(live)}.", f"umount {' '.join(reversed(live))}")
    for one in path.iterdir() if last else ():
        if one != last:
            shutil.rmtree(one) if one.is_dir() and not one.is_symlink() else one.unlink()
    shutil.rmtree(path)


def _jars(profile: str) -> Callable[[Path], None]:
    def fetch(target: Path) -> None:
        _copy_jars(profile, target)
        checksums.verify(target, profile)

    return fetch


def _copy_jars(profile: str, target: Path) -> None:
    # -C: a checksum of the repository that is missing or differs fails the build.
    command = ["mvn", "-q", "-B", "-C", "-f", str(POM), "-P", profile, "dependency:copy-dependencies"]
    run_program([*command, f"-DoutputDirectory={target}", "-DincludeScope=runtime"])


@contextmanager
def unverified_jars() -> Iterator[dict[str, Path]]:
    """Jars of each profile as the repository has them now, for as long as it takes to write their list."""
    with tempfile.TemporaryDirectory() as folder:
        folders = {profile: Path(folder) / profile for profile in PROFILES}
        for profile, target in folders.items():
            _copy_jars(profile, target)
        yield folders


def _make_rootfs(target: Path) -> None:
    if os.geteuid() != 0:
        raise TidemarkError("building the Debian tree needs root.", "run `tidemark up` as root.")
    # No mirror is named: mmdebstrap's own default, or apt's configuration of this machine, decides.
    run_program(
        ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={_ROOTFS_PACKAGES}", DEBIAN_OF_POSTGRES, str(target)]
    )
    (target / "srv/tidemark").mkdir()


def _again(fetch: Callable[[], None]) -> None:
    """Fetch, and retry when it fails."""
    for last in (*[False] * (_TRIES - 1), True):
        try:
            fetch()
        except UnavailableError:
            if last:
                raise
        else:
            return


def run_program(command: list[str], environment: dict[str, str] | None = None) -> None:
    """Run a program to its end; raises UnavailableError with the end of its output where it fails."""
    done = subprocess.run(command, env=environment, check=False, text=True, capture_output=True)
    if done.returncode == 0:
        return
    output = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
    raise UnavailableError(
        f"`{' '.join(command[:4])} …` ended with {done.returncode}; its output:\n{output}\n",
        "check network and disk space, then run the same command again; it goes on where it stopped.",
    )
