"""A second reading of the contract, and what holds the real store to it.

``reference*.py`` is the reference model: plain dictionaries, without a line of ``mergeline.domain``.
"""
