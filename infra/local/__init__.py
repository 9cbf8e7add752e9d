"""Kafka, TimescaleDB, Redis and Flink on one Debian machine, without containers."""
