"""Reconciliation: compares every number with its source, daily and before a close; stores and reports differences."""
