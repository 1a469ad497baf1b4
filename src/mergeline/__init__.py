"""mergeline: identifier updates, customer merges and loyalty cards, exactly once, on Kafka and PostgreSQL."""

from importlib.metadata import version

__version__ = version("mergeline")
