"""The archive: raw records in Parquet files, each once, for replays and audits beyond the retention of Kafka."""
