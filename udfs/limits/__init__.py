"""Limits: what a customer may use in a period, which thresholds are reported, and what a total means for them."""
