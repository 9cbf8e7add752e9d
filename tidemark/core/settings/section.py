"""What all sections of the settings have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Options of one component; its name is also used in files (`kafka:`) and variables (`TIDEMARK_KAFKA__…`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
