"""`python -m infra.local`: fetch what the local stack needs, once a machine."""

from infra.local.provision import provision
from tidemark.cli.stack import Steps

if __name__ == "__main__":
    provision(Steps())
