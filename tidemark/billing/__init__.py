"""Billing: closes, corrections and the one rule that says which are due, published on Kafka and explained."""
