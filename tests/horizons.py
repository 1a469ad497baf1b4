"""How far the ledger has answers, as a claim reads it, for whoever claims nothing."""

from mergeline.store.answered import read_horizons


async def horizons(store, partitions):
    """The highest offset of each partition that the ledger has an answer for."""
    async with store.statements() as db:
        return await read_horizons(db, partitions)
