"""Decoding: a Kafka record to measurements or a dead letter, once each, within the scope and pace of a run."""
