"""Quotas: tenants that send more than expected are alarmed, never held back."""
