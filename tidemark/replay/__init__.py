"""Replays: rebuild usage as a second version, compare it, switch to it, switch back."""
