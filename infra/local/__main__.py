"""`python -m infra.local`: fetch what the local stack needs, once a machine."""

from infra.local.progress import Lines
from infra.local.provision import provision

if __name__ == "__main__":
    provision(Lines())
