"""Alerts: what one says (`event`), and those that are about the pipeline itself (`pipeline`)."""
