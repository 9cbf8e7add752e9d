"""Settings of the brokers that the jobs rely on."""

from __future__ import annotations

from kafka.admin import ConfigResource, ConfigResourceType

from tidemark.core.kafka import clients
from tidemark.core.settings import KafkaSettings

TRANSACTION_LIMIT = "transaction.max.timeout.ms"


def transaction_limit_ms(kafka: KafkaSettings) -> int | None:
    """Longest time-out of a transaction that every broker accepts; None where the brokers do not let us read it.

    Raises
    ------
    UnavailableError
        No broker answers.
    """
    with clients.admin(kafka) as admin:
        ids = [str(broker["broker_id"]) for broker in admin.describe_cluster()["brokers"]]
        resources = [ConfigResource(ConfigResourceType.BROKER, broker) for broker in ids]
        found = admin.describe_configs(resources, config_filter="all").get("broker", {})
    # A broker that refuses to say has an answer without settings.
    return min(
        (int(one[TRANSACTION_LIMIT]["value"]) for one in found.values() if TRANSACTION_LIMIT in one), default=None
    )
