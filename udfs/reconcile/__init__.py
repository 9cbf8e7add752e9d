"""Reconciliation: what it means that two sets of numbers agree. Pure: no database, no Kafka."""
