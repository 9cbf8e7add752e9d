"""Retention: what is old enough to be removed in Postgres, Kafka and the archive, and what must stay."""
