"""Dashboards for Grafana, as code: `python -m infra.dashboards` writes their JSON files, which Grafana imports."""
