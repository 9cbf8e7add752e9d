"""Secrets of receivers: a file for each in one folder, which the settings name and the catalog cannot leave."""

from __future__ import annotations

from pathlib import Path

from tidemark.delivery.message import NEEDS_SECRET, Receiver, ReceiverError

# While a key is changed, the old one and the new one.
_KEYS = 2
_FILE_BYTES = 16_384


def keys_of(receiver: Receiver, folder: Path | None) -> tuple[str, ...]:
    """The secret of a receiver, or its two keys while they change; none where it needs none.

    Raises
    ------
    ReceiverError
        No folder is set, the file is missing, empty, not in the folder or too large, or the kind needs a secret.
    """
    if not receiver.secret_file:
        if receiver.kind in NEEDS_SECRET:
            raise ReceiverError(f"receiver {receiver.name} ({receiver.kind}) names no secret_file.")
        return ()
    if folder is None:
        raise ReceiverError(f"receiver {receiver.name} has a secret_file and delivery.secrets_dir is not set.")
    keys = tuple(line.strip() for line in _text(receiver, folder).splitlines() if line.strip())
    allowed = _KEYS if receiver.kind == "webhook" else 1
    if not 1 <= len(keys) <= allowed:
        raise ReceiverError(f"{_named(receiver)} has {len(keys)} lines; a {receiver.kind} has 1 to {allowed}.")
    return keys


def _text(receiver: Receiver, folder: Path) -> str:
    try:
        path = (folder / receiver.secret_file).resolve(strict=True)
        if not path.is_relative_to(folder.resolve()):
            raise ReceiverError(f"{_named(receiver)} is not in delivery.secrets_dir.")
        if not path.is_file():
            raise ReceiverError(f"{_named(receiver)} is no file.")
        with path.open("rb") as file:
            read = file.read(_FILE_BYTES + 1)
        if len(read) > _FILE_BYTES:
            raise ReceiverError(f"{_named(receiver)} has more than {_FILE_BYTES} bytes, and is no secret.")
        return read.decode()
    except (OSError, ValueError) as error:
        if isinstance(error, ReceiverError):
            raise
        raise ReceiverError(f"{_named(receiver)} cannot be read: {type(error).__name__}.") from None


def _named(receiver: Receiver) -> str:
    return f"secret_file {receiver.secret_file} of receiver {receiver.name}"
