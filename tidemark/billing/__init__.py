"""Closing, correcting, explaining and telling: the ledger on Postgres and Kafka."""
