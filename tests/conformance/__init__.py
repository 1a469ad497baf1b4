"""The conformance kit: what mergeline does, as scenarios in YAML, and a runner that needs a Kafka and a worker only."""
