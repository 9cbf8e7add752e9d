"""Redrive: dead letters fixed, judged, and sent again so that each is counted once."""
