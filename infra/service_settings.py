"""Settings of the services that do not depend on a port or a path: for the local stack and for compose."""

from __future__ import annotations

_MIB = 1024 * 1024

# The largest record: a DLQ record carries an event of any size the broker accepts, in base64 (4/3) and with its reason.
MAX_MESSAGE_BYTES = 3 * _MIB

DATABASE = "tidemark"
# Who migrates: a member of tidemark_owner, and of no other role.
ROLE = "tidemark"
# Who logs in with each role of Postgres: the setting of its URL, and the login.
LOGINS = {"writer_url": "tidemark_writer", "ledger_url": "tidemark_ledger", "ops_url": "tidemark_ops"}

# Who logs in at Redis: the settings of address and password file, and the user.
REDIS_USERS = {
    ("url", "password_file"): "tidemark_services", ("meter_url", "meter_password_file"): "tidemark_meter"
}  # fmt: skip
REDIS_READER = "tidemark_reader"

# Users of a Kafka that has some: who administers it, who operates Tidemark, and the jobs.
KAFKA_MECHANISM = "SCRAM-SHA-512"
KAFKA_ADMIN = "admin"
KAFKA_OPERATOR = "tidemark-operator"
KAFKA_JOBS = {"meter": "tidemark-meter", "rollup": "tidemark-rollup", "anomaly": "tidemark-anomaly"}

# Standard ports: preferred by the default stack, and what compose publishes.
STANDARD_PORTS = {
    "kafka": 9092,
    "kafka_controller": 9093,
    "postgres": 5432,
    "redis": 6379,
    "flink_rest": 8081,
    "flink_rpc": 6123,
    "flink_blob": 6124,
    "flink_task_rpc": 6122,
    "flink_task_data": 6121,
}

KAFKA: dict[str, str] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "8",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    # 25 h: above the longest outage after which a job may still commit its open transaction (events.outage_s, 24 h).
    "transaction.max.timeout.ms": "90000000",
    "message.max.bytes": str(MAX_MESSAGE_BYTES),
    "replica.fetch.max.bytes": str(MAX_MESSAGE_BYTES),
    # History is loaded with its own (old) timestamps; retention by time would delete it at once.
    "log.retention.ms": "-1",
    # One machine, small heap: the cleaner's default buffer of 128 MiB is a sixth of it.
    "log.cleaner.dedupe.buffer.size": str(32 * _MIB),
}

KAFKA_JAVA_OPTIONS = ("-Xms256m", "-Xmx768m", "-XX:+UseG1GC", "-XX:+ExitOnOutOfMemoryError", "-Duser.timezone=UTC")

POSTGRES: dict[str, str] = {
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Who ran a statement that is logged, and from where (docs/security.md).
    "log_line_prefix": "%m [%p] user=%u db=%d client=%h ",
    "max_connections": "100",
    "password_encryption": "scram-sha-256",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "max_worker_processes": "16",
    # Hypertables lock every chunk that a query touches.
    "max_locks_per_transaction": "256",
}

POSTGRES_INITDB = ("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--auth=scram-sha-256")

REDIS: dict[str, str] = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": '""',
    "protected-mode": "yes",
    # A counter that was evicted would look like no usage.
    "maxmemory-policy": "noeviction",
}
