"""Seeded bugs: changes that a sensible person could make, each of which the tests must notice."""
