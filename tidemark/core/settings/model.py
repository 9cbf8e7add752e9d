"""All sections in one class: flags beat the environment, which beats the file, which beats defaults."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from tidemark.core.errors import UsageError
from tidemark.core.names import Names
from tidemark.core.own_files import refuse_foreign
from tidemark.core.settings import document
from tidemark.core.settings.api import ApiSettings
from tidemark.core.settings.audit import AuditSettings
from tidemark.core.settings.billing import (
    ArchiveSettings,
    CloseSettings,
    HeartbeatSettings,
    ReconcileSettings,
    RetentionSettings,
)
from tidemark.core.settings.counting import CatalogSettings, EventSettings, QuotaSettings
from tidemark.core.settings.high_availability import HighAvailabilitySettings
from tidemark.core.settings.jobs import AnomalySettings, MeterSettings, ReplaySettings, RollupSettings
from tidemark.core.settings.section import Section
from tidemark.core.settings.services import (
    FlinkSettings,
    KafkaSettings,
    PostgresSettings,
    RedisSettings,
    S3Settings,
    TopicSettings,
)
from tidemark.core.settings.serving import (
    AlertSettings,
    DeliverySettings,
    HealthSettings,
    LiveTotalSettings,
    ResponseSettings,
    ResubmitSettings,
    ServeSettings,
    TraceSettings,
)
from tidemark.core.settings.web import WebSettings

ENV_PREFIX = "TIDEMARK_"
ENV_DELIMITER = "__"
FILE_ENV = "TIDEMARK_CONFIG"
# 1: the local stack that is meant is the secured one.
SECURE_ENV = "TIDEMARK_SECURE"
# Where `tidemark up` writes the settings of the local stack; read when FILE_ENV names no other file.
LOCAL_FILE = Path(".tidemark/local/settings.yaml")


class Settings(BaseSettings):
    """Settings of jobs and tools, a section for each component; times carry their unit in the name.

    What needs one or two sections takes those. Passwords come from files: `postgres.passfile`,
    `redis.password_file`, `kafka.sasl_password_file`, `s3.credentials_file`.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter=ENV_DELIMITER, extra="forbid", frozen=True
    )

    run_id: str = Field("", description="Empty for the live run; a replay or trial has its own.")
    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    postgres: PostgresSettings = PostgresSettings()
    redis: RedisSettings = RedisSettings()
    flink: FlinkSettings = FlinkSettings()
    ha: HighAvailabilitySettings = HighAvailabilitySettings()
    s3: S3Settings = S3Settings()
    meter: MeterSettings = MeterSettings()
    rollup: RollupSettings = RollupSettings()
    anomaly: AnomalySettings = AnomalySettings()
    replay: ReplaySettings = ReplaySettings()
    events: EventSettings = EventSettings()
    catalog: CatalogSettings = CatalogSettings()
    quotas: QuotaSettings = QuotaSettings()
    live: LiveTotalSettings = LiveTotalSettings()
    alerts: AlertSettings = AlertSettings()
    delivery: DeliverySettings = DeliverySettings()
    responses: ResponseSettings = ResponseSettings()
    close: CloseSettings = CloseSettings()
    heartbeat: HeartbeatSettings = HeartbeatSettings()
    reconcile: ReconcileSettings = ReconcileSettings()
    archive: ArchiveSettings = ArchiveSettings()
    retention: RetentionSettings = RetentionSettings()
    audit: AuditSettings = AuditSettings()
    serve: ServeSettings = ServeSettings()
    trace: TraceSettings = TraceSettings()
    health: HealthSettings = HealthSettings()
    resubmit: ResubmitSettings = ResubmitSettings()
    api: ApiSettings = ApiSettings()
    web: WebSettings = WebSettings()

    @field_validator("run_id")
    @classmethod
    def _known_run_id(cls, run_id: str) -> str:
        try:
            Names(run_id)
        except UsageError as error:
            raise ValueError(str(error)) from error
        return run_id

    @property
    def names(self) -> Names:
        """Names of everything this run writes to."""
        return Names(self.run_id)

    def environment(self) -> dict[str, str]:
        """Variables that pass these settings to another process; without the password of Redis."""
        values = flat(self.model_dump(mode="json", exclude={"redis": {"password"}}))
        return {variable_of(name): _text(value) for name, value in values.items()}

    def with_changes(self, changes: Mapping[str, Any]) -> Settings:
        """These settings with some values changed, by dotted name (`meter.tick_ms`); values are not checked again.

        Raises
        ------
        KeyError
            There is no setting of that name.
        """
        unknown = changes.keys() - {name for name, _ in every_setting()}
        if unknown:
            raise KeyError(*sorted(unknown))
        sections = nested(changes)
        update = {
            name: getattr(self, name).model_copy(update=values) if isinstance(values, dict) else values
            for name, values in sections.items()
        }
        return self.model_copy(update=update)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then environment, then the one file."""
        file = settings_file()
        return init_settings, env_settings, InitSettingsSource(settings_cls, document.read(file) if file else {})


def _text(value: Any) -> str:
    """A value as a variable of the environment holds it: lists as JSON, none as an empty text."""
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, list) else str(value)


def settings_file() -> Path | None:
    """The settings file: TIDEMARK_CONFIG, else that of the local stack, else None."""
    named = os.environ.get(FILE_ENV)
    if named:
        if not Path(named).is_file():
            raise UsageError(f"{FILE_ENV}={named} is not a file.", f"correct or unset {FILE_ENV}.")
        return Path(named)
    if not LOCAL_FILE.is_file():
        return None
    refuse_foreign(LOCAL_FILE, "the settings file of this folder,")
    return LOCAL_FILE


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted name (`kafka.bootstrap`), grouped by section as in a settings file."""
    sections: dict[str, Any] = {}
    for name, value in values.items():
        section, separator, key = name.partition(".")
        if separator:
            sections.setdefault(section, {})[key] = value
        else:
            sections[name] = value
    return sections


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by section as values by dotted name: the opposite of `nested`."""
    dotted = {}
    for name, value in values.items():
        inner = {f"{name}.{key}": field for key, field in value.items()} if isinstance(value, dict) else {name: value}
        dotted.update(inner)
    return dotted


def every_setting() -> Iterator[tuple[str, FieldInfo]]:
    """All settings by dotted name, in the order of the classes."""
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            for key, inner in field.annotation.model_fields.items():
                yield f"{name}.{key}", inner
        else:
            yield name, field


def variable_of(name: str) -> str:
    """The environment variable of a setting: TIDEMARK_KAFKA__BOOTSTRAP of `kafka.bootstrap`."""
    return f"{ENV_PREFIX}{name.replace('.', ENV_DELIMITER).upper()}"
