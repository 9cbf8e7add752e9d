"""What product services import: records usage, and asks whether a customer may go on."""

from typing import TYPE_CHECKING, Any

from tidemark_client.async_client import AsyncLimitReader
from tidemark_client.client import LimitReader
from tidemark_client.decision import Decision, Reason
from tidemark_client.reservations import Reservation
from tidemark_client.stored import Mode, OnUnknown
from tidemark_client.version import __version__

if TYPE_CHECKING:
    from tidemark_client.events.client import Client, Stats
    from tidemark_client.events.spool import Rejected

__all__ = [
    "AsyncLimitReader",
    "Client",
    "Decision",
    "LimitReader",
    "Mode",
    "OnUnknown",
    "Reason",
    "Rejected",
    "Reservation",
    "Stats",
    "__version__",
]

# Services that only ask for limits pay neither for an HTTP client nor for what Windows lacks.
_RECORDING = {"Client": "events.client", "Stats": "events.client", "Rejected": "events.spool"}


def __getattr__(name: str) -> Any:
    if name not in _RECORDING:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415  with what it is for

    return getattr(import_module(f"{__name__}.{_RECORDING[name]}"), name)
