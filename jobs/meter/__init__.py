"""Job `meter`, with its SQL."""
