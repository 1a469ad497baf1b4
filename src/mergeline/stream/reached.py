"""How far the partitions of a pipeline got: what was stored, what was published, and what the database was told of it.

In: what a claim has read, the last offset of what a batch has stored, offsets that were published. Out: what goes along
with the next batch. Never: I/O; or an answer that was in the ledger before taken for one that a batch wrote down.
"""

from collections.abc import Iterable, Mapping

from mergeline.domain.messages import Place
from mergeline.store.failures import Forgotten
from mergeline.store.ownership import Owner
from mergeline.store.progress import NO_HORIZON, Progress


class Reached:
    """From the first acquisition of a pipeline on; its batches go on while it acquires its partitions once more."""

    def __init__(self) -> None:
        self.horizons: Mapping[Place, int] = {}
        """The highest offset of each partition that the ledger had an answer for when it was acquired."""
        self._progress: dict[Place, Progress] = {}
        self._told: dict[Place, int] = {}
        """Of partitions, the `published_offset` that the database has."""

    def check(self, owners: Mapping[Place, Owner]) -> None:
        """Refuse to publish what a database that took over has not: it would be decided, and published, once more.

        And to begin anew with what is in hand where nobody is to answer any more: whoever acquires again has answered.

        Raises:
            Forgotten: if a row, now locked, says less than what was stored here.
        """
        for place in self._progress:
            found = owners[place].answered_offset
            if found is None or found < self._answered(place):
                raise Forgotten

    def acquired(
        self, owners: Mapping[Place, Owner], begins: Mapping[Place, int], horizons: Mapping[Place, int]
    ) -> None:
        """Go on at `begins`, knowing what the owners before had answered.

        And what batches have stored meanwhile: of that too it is to be noticed if the database forgets it.
        """
        self.horizons = horizons
        self._told = {place: owner.published_offset for place, owner in owners.items()}
        self._progress = {
            place: Progress(begin, max(begin, owners[place].answered_offset or 0, self._answered(place)))
            for place, begin in begins.items()
        }

    def of_batch(self, places: Iterable[Place], others: Iterable[Place]) -> dict[Place, Progress]:
        """What a batch of `places` takes along; of `others` only what the database was not told."""
        return self.untold(others) | {place: self._progress[place] for place in places}

    def untold(self, places: Iterable[Place] | None = None) -> dict[Place, Progress]:
        """Those of the places (of all) that are published further than the database knows."""
        known = {place: self._progress[place] for place in (self._progress if places is None else places)}
        return {place: one for place, one in known.items() if one.published_offset > self._told.get(place, 0)}

    def told(self, progress: Mapping[Place, Progress]) -> None:
        """The database has these."""
        self._told |= {place: one.published_offset for place, one in progress.items()}

    def stored(self, place: Place, last: int) -> None:
        """A batch has answered up to this offset."""
        self._progress[place] = self._progress[place].stored(last + 1, self.horizons.get(place, NO_HORIZON))

    def published(self, ends: Mapping[Place, int]) -> bool:
        """Whether one of these went beyond what is answered: no batch says so to the database."""
        beyond = any(end > self._answered(place) for place, end in ends.items())
        for place, end in ends.items():
            self._progress[place] = self._progress[place]._replace(published_offset=end)
        return beyond

    def _answered(self, place: Place) -> int:
        known = self._progress.get(place)
        return (known.answered_offset or 0) if known is not None else 0
