"""What `mergeline bench --compare` holds the worker to: a per-message worker, and the SQL floor."""
