"""Job `anomaly`, with its SQL."""
