"""Notifications on their way to receivers: what each kind is sent, signatures, and what a response means."""
