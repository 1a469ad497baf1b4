"""Makes producers: idempotent ones, transactional ones, and those that only fence another.

In: settings. Out: started `Publisher`s. Never: two producers with one transactional id of ours.
"""

import uuid
from collections.abc import Mapping
from typing import Any

from mergeline.settings import Settings
from mergeline.stream.clients import TRANSACTIONAL_ID_PREFIX
from mergeline.stream.publisher import Publisher


class Producers:
    """What each producer of this process has in common."""

    def __init__(self, settings: Settings, client_options: Mapping[str, Any]) -> None:
        self._settings, self._client_options = settings, client_options

    async def start(self, transactional_id: str | None = None) -> Publisher:
        """A started producer.

        Raises:
            PublishFailed: if it does not start in time; nothing is left of it.
        """
        publisher = Publisher(self._settings, self._client_options, transactional_id)
        await publisher.start()
        return publisher

    async def fence(self, transactional_id: str) -> None:
        """Lock out whoever holds the id, and settle the transaction that it may have left open."""
        await (await self.start(transactional_id)).kill()

    def fresh_id(self) -> str:
        """A transactional id that nobody ever had."""
        return f"{TRANSACTIONAL_ID_PREFIX}{self._settings.group_id}-{uuid.uuid4().hex}"
