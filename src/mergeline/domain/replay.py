"""Stored records in the order in which they are to be published again.

In: the records of what was decided at one moment, which is a batch, as its messages stood in their partitions. Out: the
same records, those of one customer by its version. Never: a record changed, added or left out.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from mergeline.domain.messages import Outgoing
from mergeline.domain.vocabulary import CHANGE_TOPICS


class _Versioned(Struct, rename="camel"):
    customer_version: int


_DECODER: Final = msgspec.json.Decoder(_Versioned)


def in_order(records: Sequence[Outgoing]) -> list[Outgoing]:
    """The records, with the change events of one customer in one topic by version, in the places that they have.

    Messages about different customers come from different partitions, and can still change the same one.
    """
    places: defaultdict[tuple[str, bytes | None], list[int]] = defaultdict(list)
    for place, record in enumerate(records):
        if record.topic in CHANGE_TOPICS:
            places[record.topic, record.key].append(place)
    ordered = list(records)
    for numbers in places.values():
        if len(numbers) > 1:
            found = sorted((records[number] for number in numbers), key=_version)
            for number, record in zip(numbers, found, strict=True):
                ordered[number] = record
    return ordered


def _version(record: Outgoing) -> int:
    return _DECODER.decode(record.value or b"").customer_version
