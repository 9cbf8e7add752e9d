"""Alerts from the topic into the table and on to notifications: what of one goes to whom, with which others."""
