"""Redrive: repairs dead letters, validates them, and sends them again so that each event is counted once."""
