"""Backups of what is in Postgres alone, and how they come back."""
