"""Contracts of the topics in a schema registry, by Confluent's API: what is registered, and what a registry refuses."""
