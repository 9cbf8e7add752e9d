"""Limits: what a customer may use in a period, which thresholds are told, and what a total means for them."""
