"""Automated responses to alerts: handlers, and the worker that applies and reverts what they do."""
