"""A folder of files on this machine or in an object store: where Flink keeps state, and where the archive is.

Flink names its file systems by scheme, and so does Arrow. Credentials of S3 are those of `s3.credentials_file`, else of
the usual tools: the environment, the profile or the machine's role.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from configparser import ConfigParser, Error
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa  # type: ignore[import-untyped]
from pyarrow import fs

from tidemark.core.errors import TidemarkError, UnavailableError, UsageError
from tidemark.core.settings import S3Settings

LOCAL = ("", "file")
# Flink has two connectors for S3, which may be named apart.
S3 = ("s3", "s3a", "s3p")
_BY_URI = ("gs", "hdfs", "viewfs")
LISTED = ("file", *S3, *_BY_URI)
_CONNECT_S, _REQUEST_S, _ATTEMPTS = 5, 10, 2
_BLOCK = 4 * 1024 * 1024
# Names in a file of credentials, and in Arrow and obstore.
_KEYS = {
    "aws_access_key_id": ("access_key", "access_key_id"),
    "aws_secret_access_key": ("secret_key", "secret_access_key"),
    "aws_session_token": ("session_token", "session_token"),
}


class UnlistedError(UsageError):
    """Nothing on this machine can read the file system of a place."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a place: its name in it, its URI as Flink takes it (a path where it is local), when it was written."""

    name: str
    uri: str
    written_at: float


class Place:
    """A folder; nothing is read before a method is called. Names are relative to it, with slashes.

    Parameters
    ----------
    uri:
        As Flink takes it, or a path.
    s3:
        How to reach S3.
    setting:
        The setting that names it, for messages.
    environment:
        Where the endpoint and the region of S3 are looked up if `s3` has none.

    Raises
    ------
    UnlistedError
        The file system is one that this machine cannot read.
    """

    def __init__(self, uri: str, s3: S3Settings, setting: str, environment: Mapping[str, str] | None = None) -> None:
        self.uri, self.setting = uri.rstrip("/"), setting
        self.is_local = urlsplit(uri).scheme in LOCAL
        self._s3, self._environment = s3, os.environ if environment is None else environment
        try:
            self._system, self.path = self._opened()
        except (OSError, pa.ArrowException) as error:
            raise UnlistedError(f"{self.uri} cannot be read from here: {_line(error)}.", self._unlisted) from error

    def reach(self) -> None:
        """Ask the store for the bucket; nothing on a file system.

        Raises
        ------
        UsageError
            There is no such bucket.
        UnavailableError
            The store does not answer, or refuses.
        """
        if urlsplit(self.uri).scheme not in S3:
            return
        bucket = self.path.partition("/")[0]
        with self._translated("reached"):
            found = self._system.get_file_info(bucket)
        if found.type == fs.FileType.NotFound:
            raise UsageError(f"{self.setting}: there is no bucket {bucket}.", "make it, or correct the setting.")

    def files(self, below: str = "") -> list[StoredFile]:
        """All files below a folder of the place, by name; none where it is not there. Raises UnavailableError."""
        selector = fs.FileSelector(self._at(below), allow_not_found=True, recursive=True)
        with self._translated("listed"):
            found = self._system.get_file_info(selector)
        files = [self._stored(one) for one in found if one.type == fs.FileType.File]
        return sorted(files, key=lambda file: file.name)

    def size(self, name: str) -> int | None:
        """Bytes of a file; None where it is not there. Raises UnavailableError."""
        with self._translated("read"):
            info = self._system.get_file_info(self._at(name))
        return int(info.size) if info.type == fs.FileType.File else None

    def open(self, name: str) -> Any:
        """A file to read from any position, as Arrow has it; raises OSError where it is not there."""
        return self._system.open_input_file(self._at(name))

    def read(self, name: str) -> str:
        """The text of a file; raises UnavailableError."""
        with self._translated("read"), self.open(name) as stream:
            return str(stream.read().decode())

    def digest(self, name: str) -> str:
        """SHA-256 of a file, hexadecimal; raises UnavailableError."""
        digest = hashlib.sha256()
        with self._translated("read"), self.open(name) as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest()

    @contextmanager
    def reading(self, name: str) -> Iterator[Any]:
        """A file to read from its begin on, as Arrow has it; raises UnavailableError."""
        with self._translated("read"), self._system.open_input_stream(self._at(name), compression=None) as stream:
            yield stream

    @contextmanager
    def writing(self, name: str) -> Iterator[Any]:
        """A new file to write from its begin on, as Arrow has it, in folders that are made; readers may see it in part.

        Raises
        ------
        UnavailableError
            It cannot be written.
        """
        with self._translated("written"):
            # The others make what is missing above a file.
            if self.is_local:
                _make_folder(Path(self._at(name)).parent)
            with self._system.open_output_stream(self._at(name), compression=None) as stream:
                yield stream
            # Other file systems have rights of their own.
            if self.is_local:
                _keep_private(Path(self._at(name)), 0o600)

    def write(self, name: str, text: str) -> None:
        """Write a small file, which a reader may see in part; raises UnavailableError."""
        with self.writing(name) as stream:
            stream.write(text.encode())

    def put_new(self, content: Path | bytes, name: str) -> None:
        """Write a whole file to S3, unless there is one of that name: who lost the right to write cannot replace it.

        Raises
        ------
        TidemarkError
            There is one.
        UnavailableError
            S3 does not answer.
        """
        try:
            from obstore import put  # noqa: PLC0415 - an extra
            from obstore.exceptions import AlreadyExistsError, BaseError  # noqa: PLC0415
            from obstore.store import S3Store  # noqa: PLC0415
        except ImportError as error:
            raise UsageError("writing to S3 needs obstore.", "pip install '.[s3]' in a checkout.") from error
        bucket, _, prefix = self.path.partition("/")
        options: Any = {**({"endpoint": self._endpoint} if self._endpoint else {}), **self._credentials(1)}
        client: Any = {"allow_http": True, "timeout": "300s", "connect_timeout": f"{_CONNECT_S}s"}
        store = S3Store(bucket, prefix=prefix or None, region=self._region, client_options=client, **options)
        try:
            put(store, name, content, mode="create", use_multipart=False)
        except AlreadyExistsError as error:
            raise TidemarkError(
                f"{self.uri}/{name} exists already: another process writes here, or wrote it and has not recorded it.",
                "wait until it has ended, then run the command again.",
            ) from error
        except (BaseError, OSError) as error:
            raise self._unavailable("written", error) from error

    def move(self, name: str, to: str) -> None:
        """Give a file another name; raises UnavailableError."""
        with self._translated("written"):
            if self.is_local:
                Path(self._at(to)).parent.mkdir(parents=True, exist_ok=True)
            self._system.move(self._at(name), self._at(to))

    def remove(self, name: str) -> None:
        """Remove a file, if it is there; raises UnavailableError."""
        if self.size(name) is not None:
            with self._translated("removed"):
                self._system.delete_file(self._at(name))

    def remove_all(self) -> None:
        """Remove the folder with everything in it, if it is there; raises UnavailableError."""
        with self._translated("removed"):
            if self._system.get_file_info(self.path).type != fs.FileType.NotFound:
                self._system.delete_dir(self.path)

    def _at(self, name: str) -> str:
        return f"{self.path}/{name}" if name else self.path

    def _stored(self, info: fs.FileInfo) -> StoredFile:
        path = str(info.path)
        tail = path.removeprefix(self.path)
        return StoredFile(tail.lstrip("/"), path if self.is_local else self.uri + tail, info.mtime_ns / 1e9)

    def _opened(self) -> tuple[fs.FileSystem, str]:
        split = urlsplit(self.uri)
        if split.scheme in LOCAL:
            return fs.LocalFileSystem(), str(Path(unquote(split.path) if split.scheme else self.uri).absolute())
        if split.scheme in S3:
            return self._arrow_s3(split.netloc), f"{split.netloc}{split.path}"
        if split.scheme in _BY_URI:
            system, path = fs.FileSystem.from_uri(self.uri)
            return system, path.rstrip("/")
        raise UnlistedError(
            f"{self.uri} cannot be read from here: the file system {split.scheme}: is not known.", self._unlisted
        )

    def _arrow_s3(self, bucket: str) -> fs.FileSystem:
        more, endpoint = self._credentials(0), urlsplit(self._endpoint)
        if endpoint.netloc:
            more |= {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme}
        region = self._named_region or (self._region if endpoint.netloc else fs.resolve_s3_region(bucket))
        return fs.S3FileSystem(
            region=region, connect_timeout=_CONNECT_S, request_timeout=_REQUEST_S,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS), **more,
        )  # fmt: skip

    @property
    def _named_region(self) -> str:
        named = self._environment
        return self._s3.region or named.get("AWS_REGION") or named.get("AWS_DEFAULT_REGION") or ""

    @property
    def _region(self) -> str:
        return self._named_region or "us-east-1"

    @property
    def _endpoint(self) -> str:
        named = self._environment
        return self._s3.endpoint or named.get("AWS_ENDPOINT_URL_S3") or named.get("AWS_ENDPOINT_URL") or ""

    def _credentials(self, tool: int) -> dict[str, str]:
        """Keys of the file of credentials under the names of Arrow (0) or obstore (1); none where there is no file."""
        if self._s3.credentials_file is None:
            return {}
        found = _profile(self._s3.credentials_file)
        return {names[tool]: found[key] for key, names in _KEYS.items() if key in found}

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise self._unavailable(what, error) from error

    def _unavailable(self, what: str, error: BaseException) -> UnavailableError:
        return UnavailableError(
            f"{self.uri} cannot be {what}: {_line(error)}.",
            f"check {self.setting}, s3.credentials_file or the credentials of this machine, and s3.endpoint of a store "
            "that is not Amazon's.",
        )

    @property
    def _unlisted(self) -> str:
        return f"{self.setting} can be read on {', '.join(LISTED)}."


def _profile(file: Path) -> Mapping[str, str]:
    """The profile `default` of a file of credentials, as Amazon's tools have it.

    Raises
    ------
    UsageError
        It cannot be read, or has no key.
    """
    parser = ConfigParser(interpolation=None)
    try:
        parser.read_string(file.read_text("utf-8"))
        found = dict(parser["default"])
    except (OSError, Error, KeyError) as error:
        # What is in the file is not printed.
        raise UsageError(f"s3.credentials_file {file} cannot be read: {type(error).__name__}.", _CREDENTIALS) from None
    if not {"aws_access_key_id", "aws_secret_access_key"} <= found.keys():
        raise UsageError(f"s3.credentials_file {file} lacks a key.", _CREDENTIALS)
    return found


_CREDENTIALS = "it has a section [default] with aws_access_key_id and aws_secret_access_key."


def _line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:300].rstrip(".")


def _make_folder(path: Path) -> None:
    if not path.is_dir():
        _make_folder(path.parent)
        path.mkdir(exist_ok=True)
        _keep_private(path, 0o700)


def _keep_private(path: Path, mode: int) -> None:
    """Keep others out of what was made; what root makes in a folder of Flink's user, Flink has to change."""
    path.chmod(mode)
    if os.geteuid() == 0:
        above = path.parent.stat()
        os.chown(path, above.st_uid, above.st_gid)
