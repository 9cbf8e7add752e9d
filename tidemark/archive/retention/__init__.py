"""Retention: what is old enough to go, in Postgres, Kafka and the archive, and what must not go yet."""
