"""Quotas: tenants that send more than expected raise an alarm; their usage is never dropped."""
