"""The Kafka and the PostgreSQL that tests run against, in containers or embedded.

In: MERGELINE_TEST_SERVICES (auto, embedded, containers). Out: the fixtures of ``tests.services.fixtures``. Nothing is
started before a test asks for it.
"""
