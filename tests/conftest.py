"""What every lane of tests has: the services, a line that says which, and the seed of a random test."""

import random

import pytest
from tests.services.choice import chosen
from tests.services.fixtures import (  # noqa: F401 - pytest finds fixtures by their names here
    bootstrap_servers,
    database_url,
    empty_database_url,
    kafka,
    killable_kafka,
    killable_postgres,
    notice,
    postgres,
    template_database,
    topic_prefix,
)


def pytest_report_header():
    kind, reason = chosen()
    return f"services: {kind} ({reason})"


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, default=0, help="replay a random test with this seed (0: choose one)")


@pytest.fixture
def seed(request):
    """`--seed N` replays a run; the seed stands in the failure either way."""
    chosen = request.config.getoption("--seed") or random.randrange(1 << 32)
    print(f"\nreplay with: pytest {request.node.nodeid} --seed {chosen}")
    return chosen
