"""Noise control: what of an alert goes to whom, together with which others, and when."""
