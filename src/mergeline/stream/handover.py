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
from mergeline.store.apply import Store
from mergeline.store.ownership import Claim, claim, horizons
from mergeline.stream.incarnations import at_the_database
from mergeline.stream.offsets import Offsets
from mergeline.stream.producers import Producers


async def hand_over(
    store: Store, producers: Producers, offsets: Offsets, places: Mapping[Place, TopicPartition]
) -> None:
    """Lock out whoever answered the partitions, and have the database take no more of its answers.

    Raises:
        Retriable: if brokers or database are away: to be tried again.
        SetupError: if there are answers that are not published.
    """
    with at_the_database():
        async with claim(store, list(places)) as claimed:
            if any(owner.answered_offset is not None for owner in claimed.owners.values()):
                await asyncio.gather(*(producers.fence(one) for one in claimed.transactional_ids))
                positions = await offsets.positions(list(places.values()))
                await _check_published(store, claimed, {place: positions[tp] for place, tp in places.items()})
                await claimed.disown()


async def _check_published(store: Store, claimed: Claim, positions: Mapping[Place, int]) -> None:
    for place, highest in (await horizons(store, list(positions))).items():
        published = max(positions[place], claimed.owners[place].published_offset)
        if highest >= published:
            raise SetupError(
                f"{place.topic}, partition {place.partition}: workers with MERGELINE_REQUESTS_KEYED=true have stored "
                f"answers up to {highest} and published them up to {published}. Run such workers until they have "
                "published the rest, then switch all of them."
            )
