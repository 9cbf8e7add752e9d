"""What product services import to ask whether a customer may go on: redis-py and the standard library, nothing else."""

from udfs.reader.client import AsyncLimitReader, LimitReader
from udfs.reader.decision import Decision, Reason
from udfs.reader.stored import Mode, OnUnknown

__all__ = ["AsyncLimitReader", "Decision", "LimitReader", "Mode", "OnUnknown", "Reason"]
