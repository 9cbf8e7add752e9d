"""A game day: faults one after another on a stack under load, each with its alert and its runbook; `make game-day`."""
