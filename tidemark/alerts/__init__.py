"""Alerts from the topic into the table, and from there to notifications; and what people say about them."""
