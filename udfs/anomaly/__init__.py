"""Anomalies of minute series: baselines, detectors, and what they say; plain Python, event time, bounded memory."""
