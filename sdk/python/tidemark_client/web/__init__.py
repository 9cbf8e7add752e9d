"""Middleware that meters requests and asks limits."""
