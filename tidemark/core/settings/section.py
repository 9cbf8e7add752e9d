"""What all sections of the settings have in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Section(BaseModel):
    """Options of one component; its name is also used in files (`kafka:`) and variables (`TIDEMARK_KAFKA__…`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _empty(cls, value: Any, info: ValidationInfo) -> Any:
        """An empty text where the default is None means None: so a variable takes back what a file says."""
        field = cls.model_fields[info.field_name or ""]
        return None if value == "" and not field.is_required() and field.default is None else value
