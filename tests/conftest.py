"""What every lane of tests has: the services, and a line that says which."""

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
