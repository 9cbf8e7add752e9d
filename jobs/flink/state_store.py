"""The folder in which Flink keeps state, on any file system that this machine can reach: local, S3, GCS or HDFS.

Flink names its file systems by scheme, and so does Arrow; credentials are those of the usual tools (for S3 the
environment, the profile or the machine's role; `AWS_ENDPOINT_URL_S3` for a store that is not Amazon's).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa  # type: ignore[import-untyped]
from pyarrow import fs

from tidemark.core.errors import UnavailableError, UsageError

_LOCAL = ("", "file")
# Flink has two connectors for S3, which may be named apart.
_S3 = ("s3", "s3a", "s3p")
_BY_URI = ("gs", "hdfs", "viewfs")
LISTED = ("file", *_S3, *_BY_URI)
_CONNECT_S, _REQUEST_S, _ATTEMPTS = 5, 10, 2


class UnlistedError(UsageError):
    """Nothing on this machine can read the file system of the state."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file below a folder: its URI as Flink takes it (a plain path where it is local), and when it was written."""

    uri: str
    written_at: float


class Folder:
    """A folder of state; nothing is read before a method is called.

    Parameters
    ----------
    uri:
        As Flink takes it.
    environment:
        Where the endpoint of S3 is looked up.

    Raises
    ------
    UnlistedError
        The file system is one that this machine cannot read.
    """

    def __init__(self, uri: str, environment: Mapping[str, str] | None = None) -> None:
        self._uri = uri.rstrip("/")
        self._is_local = urlsplit(uri).scheme in _LOCAL
        try:
            self._system, self._path = _opened(self._uri, os.environ if environment is None else environment)
        except (OSError, pa.ArrowException) as error:
            raise UnlistedError(f"{self._uri} cannot be read from here: {_line(error)}.", _FIX) from error

    def files(self) -> list[StoredFile]:
        """All files below the folder; none where it is not there. Raises UnavailableError."""
        selector = fs.FileSelector(self._path, allow_not_found=True, recursive=True)
        with self._translated("listed"):
            found = self._system.get_file_info(selector)
        return [StoredFile(self._uri_of(one), one.mtime_ns / 1e9) for one in found if one.type == fs.FileType.File]

    def read(self, name: str) -> str:
        """The text of a file of the folder; raises UnavailableError."""
        with self._translated("read"), self._system.open_input_stream(f"{self._path}/{name}") as stream:
            return str(stream.read().decode())

    def write(self, name: str, text: str) -> None:
        """Write a file of the folder, which is made where it is not there; raises UnavailableError."""
        with self._translated("written"):
            # The others make what is missing above a file.
            if self._is_local:
                _make_folder(Path(self._path))
            with self._system.open_output_stream(f"{self._path}/{name}") as stream:
                stream.write(text.encode())
            # Other file systems have rights of their own.
            if self._is_local:
                _private(Path(self._path, name), 0o600)

    def remove(self) -> None:
        """Remove the folder with everything in it, if it is there; raises UnavailableError."""
        with self._translated("removed"):
            if self._system.get_file_info(self._path).type != fs.FileType.NotFound:
                self._system.delete_dir(self._path)

    def _uri_of(self, info: fs.FileInfo) -> str:
        path = str(info.path)
        return path if self._is_local else self._uri + path.removeprefix(self._path)

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise UnavailableError(
                f"{self._uri} cannot be {what}: {_line(error)}.",
                "check flink.state_dir, the credentials of this machine, and AWS_ENDPOINT_URL_S3 of a store that is "
                "not Amazon's.",
            ) from error


_FIX = (
    f"flink.state_dir can be listed on {', '.join(LISTED)}; elsewhere name the checkpoint or savepoint: "
    "`tidemark submit JOB --from-savepoint URI`."
)


def _opened(uri: str, environment: Mapping[str, str]) -> tuple[fs.FileSystem, str]:
    split = urlsplit(uri)
    if split.scheme in _LOCAL:
        return fs.LocalFileSystem(), split.path
    if split.scheme in _S3:
        return _s3(split.netloc, environment), f"{split.netloc}{split.path}"
    if split.scheme in _BY_URI:
        system, path = fs.FileSystem.from_uri(uri)
        return system, path.rstrip("/")
    raise UnlistedError(f"{uri} cannot be read from here: the file system {split.scheme}: is not known.", _FIX)


def _s3(bucket: str, environment: Mapping[str, str]) -> fs.FileSystem:
    endpoint = urlsplit(environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL") or "")
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    if not region and not endpoint.netloc:
        region = fs.resolve_s3_region(bucket)
    more = {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme} if endpoint.netloc else {}
    return fs.S3FileSystem(
        region=region or "us-east-1", connect_timeout=_CONNECT_S, request_timeout=_REQUEST_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS), **more,
    )  # fmt: skip


def _line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:300].rstrip(".")


def _make_folder(path: Path) -> None:
    if not path.is_dir():
        _make_folder(path.parent)
        path.mkdir(exist_ok=True)
        _private(path, 0o700)


def _private(path: Path, mode: int) -> None:
    """Keep others out of what was made; what root makes in a folder of Flink's user, Flink has to change."""
    path.chmod(mode)
    if os.geteuid() == 0:
        above = path.parent.stat()
        os.chown(path, above.st_uid, above.st_gid)
