"""A system under load.

In: its world, its processes. Out: the same in one hand. Never: what it does; that is its own affair.
"""

from collections.abc import Callable
from dataclasses import dataclass

from mergeline.bench.outcomes import Judge
from mergeline.bench.workers import Workers
from mergeline.bench.world import Site, World
from mergeline.domain.vocabulary import Topic
from mergeline.settings import Settings
from mergeline.stream.topics import full_name


def behind_the_router(settings: Settings) -> str:
    """The topic that a worker's last stage reads."""
    return full_name(settings, Topic.IDENTIFIER_UPDATES if settings.requests_keyed else Topic.COMMANDS_BY_CUSTOMER)


def without_router(settings: Settings) -> str:
    """The topic that a worker reads that has one stage."""
    return full_name(settings, Topic.IDENTIFIER_UPDATES)


@dataclass(frozen=True, slots=True)
class Subject:
    """One system: where it works, its processes, and the topic whose committed offsets say how far it is."""

    site: Site
    world: World
    workers: Workers
    last_topic: Callable[[Settings], str] = behind_the_router

    def judge(self) -> Judge:
        """A judge of what this system promises."""
        return Judge(once=self.world.settings.delivery == "exactly_once")
