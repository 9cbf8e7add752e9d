"""Settings: a small typed class for each component, and a class with all of them."""

from tidemark.core.settings.api import ApiSettings, EnrichRule
from tidemark.core.settings.audit import AuditSettings, TwoPerson
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
from tidemark.core.settings.loading import check_environment, checked, load, misspelt, section_of
from tidemark.core.settings.model import (
    ENV_PREFIX,
    FILE_ENV,
    SECURE_ENV,
    Settings,
    every_setting,
    flat,
    nested,
    settings_file,
    variable_of,
)
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
    WebhookResponse,
)
from tidemark.core.settings.web import WebSettings

__all__ = [
    "ENV_PREFIX",
    "FILE_ENV",
    "SECURE_ENV",
    "AlertSettings",
    "AnomalySettings",
    "ApiSettings",
    "ArchiveSettings",
    "AuditSettings",
    "CatalogSettings",
    "CloseSettings",
    "DeliverySettings",
    "EnrichRule",
    "EventSettings",
    "FlinkSettings",
    "HealthSettings",
    "HeartbeatSettings",
    "HighAvailabilitySettings",
    "KafkaSettings",
    "LiveTotalSettings",
    "MeterSettings",
    "PostgresSettings",
    "QuotaSettings",
    "ReconcileSettings",
    "RedisSettings",
    "ReplaySettings",
    "ResponseSettings",
    "ResubmitSettings",
    "RetentionSettings",
    "RollupSettings",
    "S3Settings",
    "ServeSettings",
    "Settings",
    "TopicSettings",
    "TraceSettings",
    "TwoPerson",
    "WebSettings",
    "WebhookResponse",
    "check_environment",
    "checked",
    "every_setting",
    "flat",
    "load",
    "misspelt",
    "nested",
    "section_of",
    "settings_file",
    "variable_of",
]
