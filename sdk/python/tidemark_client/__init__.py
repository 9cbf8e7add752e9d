"""What product services import to ask whether a customer may go on: redis-py and the standard library, nothing else."""

from tidemark_client.client import AsyncLimitReader, LimitReader
from tidemark_client.decision import Decision, Reason
from tidemark_client.stored import Mode, OnUnknown

__all__ = ["AsyncLimitReader", "Decision", "LimitReader", "Mode", "OnUnknown", "Reason"]
