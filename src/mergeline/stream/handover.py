"""From workers that answer the public topics directly (`MERGELINE_REQUESTS_KEYED`) to the router.

In: partitions of public topics, about to be routed. Out: nobody answers them any more; or a `SetupError`. Never: a
message routed whose answer is stored and not published: `apply` would know it, drop it, and nobody would publish it.

The other direction is `drained`.
"""

import asyncio
from collections.abc import Mapping

from aiokafka import TopicPartition

from mergeline.domain.messages import Place
from mergeline.errors import SetupError
from mergeline.settings import Settings
from mergeline.store.apply import Store
from mergeline.store.ownership import Owner, claim
from mergeline.stream.forgotten import check_remembered, gaps
from mergeline.stream.incarnations import at_the_database
from mergeline.stream.offsets import Offsets
from mergeline.stream.producers import Producers


async def hand_over(
    settings: Settings, store: Store, producers: Producers, offsets: Offsets, places: Mapping[Place, TopicPartition]
) -> None:
    """Lock out whoever answered the partitions, and have the database take no more of its answers.

    Raises:
        Retriable: if brokers or database are away: to be tried again.
        SetupError: if there are answers that are not published, or some that the database has forgotten.
    """
    with at_the_database():
        async with claim(store, list(places)) as claimed:
            await offsets.confirm()  # cut off from the group, we would lock out whoever it gave the partitions to
            if any(owner.answered_offset is not None for owner in claimed.owners.values()):
                await asyncio.gather(*(producers.fence(one) for one in claimed.transactional_ids))
                found = await offsets.positions(list(places.values()))
                positions = {place: found[partition] for place, partition in places.items()}
                horizons = await claimed.horizons()
                check_published(claimed.owners, horizons, positions)
                await check_remembered(settings, gaps(places, claimed.owners, horizons, found))
                await claimed.disown(positions)


def check_published(
    owners: Mapping[Place, Owner], horizons: Mapping[Place, int], positions: Mapping[Place, int]
) -> None:
    """Compare what was answered with what was published.

    Raises:
        SetupError: as `hand_over`.
    """
    for place, highest in horizons.items():
        published = max(positions[place], owners[place].published_offset)
        if highest >= published:
            raise SetupError(
                f"{place.topic}, partition {place.partition}: workers with MERGELINE_REQUESTS_KEYED=true have stored "
                f"answers up to {highest} and published them up to {published}. Run such workers until they have "
                "published the rest, then switch all of them."
            )
