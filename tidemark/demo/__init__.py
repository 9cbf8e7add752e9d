"""The demo: a year of real flights through the running system, compared with the oracle."""
