"""The ledger: closes, corrections, and the one rule that says which of them are due. Pure: no database, no Kafka."""
