"""Attacks on a running system: a workload, an auditor that judges what came of it, and what is done meanwhile."""
