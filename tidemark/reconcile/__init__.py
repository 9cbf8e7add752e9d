"""Reconciliation: every number against where it came from, daily and before a close; what differs is kept and told."""
