"""The messages of a run, made before its clock starts.

In: a plan, the name of the run, the first customer number that nobody has. Out: messages with their partition, in
order, and what the answer to each must be. Never: an answer that depends on how customers' messages interleave: a
message meets only what its own customer's messages, or the population, have left. So every worker that is right gives
the same answers.
"""

import itertools
import random
from array import array
from collections import deque
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import orjson

from mergeline.bench.plan import ORG_ID, REQUESTS_MAX, Hot, Kind, Plan
from mergeline.stream.publisher import partition_of

HOT_CUSTOMER: Final = 1
HOT_IDENTIFIER: Final = {"type": "externalId", "value": "p1-0"}
"""Of the population's first customer, in INSTORE: to remove it from another scope does nothing."""
CHUNK: Final = 4_096
RECENT_MAX: Final = 4_096
"""Messages that a removal or a repeat may refer to."""
REPEATABLE_EVERY: Final = 3
SERIES_ID: Final = 163
MOBILE_STARTS: Final = tuple(str(start) for start in (*range(130, 134), *range(135, 140), *range(150, 153)))
DOMAINS: Final = 50
TORN_BYTES: Final = 7


def run_name(run: int) -> str:
    """What the request ids of a run begin with."""
    return f"r{run}"


class Message(NamedTuple):
    """One message."""

    number: int
    """Its place in the run, from 0."""
    partition: int
    key: bytes
    value: bytes
    kind: Kind
    request: int
    """The number in its request id: its own, or that of the message it repeats."""
    answer: str
    """What must be said to it: the status and codes of its outcome, or the code of its dead letter."""


class Messages:
    """An endless supply for one run."""

    def __init__(self, plan: Plan, run: int, first_victim: int) -> None:
        """`run`: 0, 1, ...: runs of one number say the same, those of different ones share nothing."""
        self._plan, self._number, self._run = plan, run, run_name(run)
        self._random = random.Random(f"{plan.seed}:{run}")  # noqa: S311 - a load, no secret
        self._numbers = itertools.count()
        self._next_victim = first_victim
        self._partitions: dict[int, int] = {}
        self._popular = _popularity(plan)
        self._removable: deque[tuple[int, dict[str, str]]] = deque(maxlen=RECENT_MAX)
        self._repeatable: deque[Message] = deque(maxlen=RECENT_MAX)
        self.merges: list[tuple[int, int]] = []
        """Victim and survivor of each merge of the messages made so far: both must be stored before they are sent."""

    def make(self, count: int) -> Iterator[Message]:
        """The next messages."""
        kinds, weights = list(self._plan.mix), list(self._plan.mix.values())
        while count > 0:
            size = min(count, CHUNK)
            count -= size
            drawn = self._random.choices(kinds, weights, k=size)
            for kind, customer in zip(drawn, self._customers(size), strict=True):
                yield self._one(kind, customer)

    def _customers(self, count: int) -> list[int]:
        if self._plan.hot is Hot.CUSTOMER:
            return [HOT_CUSTOMER] * count
        customers = range(1, self._plan.customers + 1)
        if self._popular is None:
            return self._random.choices(customers, k=count)
        return self._random.choices(customers, cum_weights=self._popular, k=count)

    def _one(self, kind: Kind, customer: int) -> Message:
        number = next(self._numbers)
        if kind is Kind.REPEAT and self._repeatable:
            earlier = self._repeatable.popleft()
            return earlier._replace(number=number, kind=Kind.REPEAT)
        if kind is Kind.REMOVE and self._removable:
            customer, item = self._removable.popleft()
            return self._message(number, Kind.REMOVE, customer, remove=[item])
        if kind is Kind.MERGE:
            victim = self._next_victim
            self._next_victim += 1
            self.merges.append((victim, customer))
            met = {"type": "externalId", "value": f"m{victim}"}
            return self._message(number, Kind.MERGE, victim, add=[met])._replace(answer=f"applied into {customer}")
        if kind is Kind.CARD:
            card = {
                "type": "cardnumber",
                "value": f"{self._run}{number}",
                "seriesId": SERIES_ID,
                "statusLabel": "ACTIVE",
            }
            return self._message(number, Kind.CARD, customer, add=[card])
        if kind is Kind.REJECTED:
            no_address = {"type": "email", "value": f"no-address-{number}"}
            rejected = self._message(number, Kind.REJECTED, customer, add=[no_address])
            return rejected._replace(answer="rejected INVALID_VALUE")
        if kind is Kind.BAD:
            whole = self._message(number, Kind.BAD, customer, add=self._new_identifiers(number))
            return whole._replace(value=whole.value[:-TORN_BYTES], answer="MALFORMED_JSON")
        return self._add(number, customer)

    def _add(self, number: int, customer: int) -> Message:
        """New identifiers; a removal or a repeat that nothing can be found for is one too."""
        items = self._new_identifiers(number)
        message = self._message(number, Kind.ADD, customer, add=items)
        if number % REPEATABLE_EVERY:
            self._removable.append((customer, items[0]))
        else:
            self._repeatable.append(message)
        return message

    def _new_identifiers(self, number: int) -> list[dict[str, str]]:
        """One or two that nobody has: half of them open ids, every fourth with an e-mail address or a mobile."""
        name = f"{self._run}{number}"
        found = [{"type": "wechat" if number % 2 else "externalId", "value": name}]
        if number % 4 == 0:
            found.append({"type": "email", "value": f"{name}@example{number % DOMAINS}.com"})
        elif number % 4 == 1:
            found.append({"type": "mobile", "value": self._mobile(number)})
        return found

    def _mobile(self, number: int) -> str:
        """The start is for the run, and where there are more runs than starts, so is the first part of the digits."""
        round_, place = divmod(self._number, len(MOBILE_STARTS))
        return f"86{MOBILE_STARTS[place]}{round_ * REQUESTS_MAX + number:08d}"

    def _message(self, number: int, kind: Kind, customer: int, **lists: Any) -> Message:
        body: dict[str, Any] = {
            "requestId": f"{self._run}-{number}",
            "orgId": ORG_ID,
            "customerId": customer,
            "source": "WECHAT",
            "accountId": "brand-a",
            **lists,
        }
        if self._plan.hot is Hot.IDENTIFIER and kind is not Kind.MERGE:
            body["remove"] = [*lists.get("remove", ()), HOT_IDENTIFIER]
        key = f"{ORG_ID}:{customer}".encode()
        partition = self._partitions.get(customer)
        if partition is None:
            partition = self._partitions[customer] = partition_of(key, self._plan.partitions)
        return Message(number, partition, key, orjson.dumps(body), kind, number, "applied")


def _popularity(plan: Plan) -> "array[float] | None":
    """Cumulative weights of the customers, the first the most popular; None where all are alike."""
    if not plan.zipf or plan.hot is Hot.CUSTOMER:
        return None
    return array("d", itertools.accumulate(rank**-plan.zipf for rank in range(1, plan.customers + 1)))
