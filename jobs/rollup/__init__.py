"""Job `rollup`, with its SQL."""
