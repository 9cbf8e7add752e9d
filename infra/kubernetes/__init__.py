"""A real Kubernetes API on this machine for tests of the chart: no kubelets, KWOK says that pods run."""
