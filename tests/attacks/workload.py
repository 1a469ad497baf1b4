"""What users might send, without end, and the same again for the same seed.

In: a seed. Out: messages for the public topics, in the order they are to be produced. Nothing but the contract
(`schemas/`) is used, and nothing that comes of a message changes the next one.

Customers come in time: requests are about recent ones, mostly, and old ones fade. People have two or three customers
each, so that they merge; a few hot values (Zipf) are given to anybody, so that requests conflict, and merges chain. Hot
values change with time too, so that no customer grows for ever.
"""

import bisect
import itertools
import json
import random
from dataclasses import dataclass

ORG, UNKNOWN_ORG = 100737, 100738
CATALOG = {
    "orgId": ORG,
    "defaultRegion": "CN",
    "blockList": ["test@test.com"],
    "sources": {"INSTORE": "single", "WEBSHOP": "single", "WECHAT": "multiple"},
    "series": [{"id": 163, "code": "GOLD", "autoCreate": True, "maxActiveCardsPerCustomer": 2, "expiryDays": 365}],
}
UPDATES, CUSTOMERS, CARDS = "identifier-updates", "customer-registrations", "card-registrations"
FIRST_CUSTOMERS = 50
RECENT_CUSTOMERS = 2_000
CUSTOMERS_A_PERSON = 3
HOT_VALUES, HOT_FOR = 40, 4_000
"""So many values are hot at a time, for so many messages."""
REMEMBERED = 400
"""Recent messages and identifiers that a later message may repeat or remove."""
LABELS = ("ISSUED", "ACTIVE", "SUSPENDED", "EXPIRED", "DELETED")
ZIPF = list(itertools.accumulate(1 / rank for rank in range(1, HOT_VALUES + 1)))


@dataclass(frozen=True)
class Message:
    """One message; `letter` says that the contract makes a dead letter of it."""

    topic: str
    key: bytes
    value: bytes
    letter: bool = False


class Workload:
    """An endless iterator over messages."""

    def __init__(self, seed):
        self._dice = random.Random(seed)
        self._sent = 0
        self._customers = 0
        self._recent, self._given = [], []
        self._kinds = [kind for kind, _ in MIX]
        self._weights = list(itertools.accumulate(weight for _, weight in MIX))

    def __iter__(self):
        return self

    def __next__(self):
        self._sent += 1
        if self._customers < FIRST_CUSTOMERS:
            return self._remembered(self._registration())
        kind = self._dice.choices(self._kinds, cum_weights=self._weights)[0]
        message = kind(self)
        return message if message.letter else self._remembered(message)

    def take(self, count):
        return list(itertools.islice(self, count))

    # ------------------------------------------------------------ customers and values

    def _customer(self):
        """A customer; a recent one most of the time, now and then an old one (merged by now, perhaps)."""
        dice, last = self._dice, self._customers
        if dice.random() < 0.03:
            return dice.randint(1, last)
        return max(1, last - int(dice.random() ** 2 * min(last, RECENT_CUSTOMERS)))

    def _hot(self):
        rank = bisect.bisect(ZIPF, self._dice.random() * ZIPF[-1])
        return f"hot{self._sent // HOT_FOR}-{rank}@example.com"

    def _identifier(self, customer):
        """Something to give a customer: its person's own, mostly; now and then what is hot."""
        dice, person = self._dice, customer // CUSTOMERS_A_PERSON
        match dice.choices(("own", "email", "mobile", "wechat", "hot"), (45, 15, 12, 18, 10))[0]:
            case "own":
                return {"type": "externalId", "value": f"x{customer}-{dice.randrange(12)}"}
            case "email":
                return {"type": "email", "value": f"Person{person}@Example.com"}
            case "mobile":
                return {"type": "mobile", "value": f"138{person % 100_000_000:08}"}
            case "wechat":
                return {"type": "wechat", "value": f"w{person}-{dice.randrange(3)}"}
            case _:
                return {"type": "email", "value": self._hot()}

    def _scope(self):
        source = self._dice.choice(("INSTORE", "WEBSHOP", "WECHAT"))
        return {"source": source} | ({"accountId": f"a{self._dice.randrange(4)}"} if source == "WECHAT" else {})

    def _card(self, **more):
        return {"type": "cardnumber", "value": f"C{self._card_number()}", "seriesId": 163, **more}

    def _card_number(self):
        return self._customers * 2 - int(self._dice.random() ** 2 * min(self._customers * 2, RECENT_CUSTOMERS))

    # ------------------------------------------------------------ messages

    def _remembered(self, message):
        self._recent.append(message)
        del self._recent[:-REMEMBERED]
        return message

    def _request(self, customer, **fields):
        body = {"requestId": f"r{self._sent}", "orgId": ORG, "customerId": customer} | fields
        return Message(UPDATES, key_of(customer), encoded(body))

    def _registration(self):
        self._customers += 1
        customer = self._customers
        identifiers = [self._identifier(customer) for _ in range(self._dice.choice((0, 0, 1, 1, 2)))]
        body = {"requestId": f"r{self._sent}", "orgId": ORG, "customerId": customer} | self._scope()
        return Message(CUSTOMERS, key_of(customer), encoded(body | {"identifiers": identifiers}))

    def _registration_again(self):
        body = {"requestId": f"r{self._sent}", "orgId": ORG, "customerId": self._customer()} | self._scope()
        return Message(CUSTOMERS, key_of(body["customerId"]), encoded(body))

    def _card_registration(self):
        number = f"C{self._card_number()}"
        body = {"requestId": f"r{self._sent}", "orgId": ORG, "cardNumber": number, "seriesId": 163}
        return Message(CARDS, f"{ORG}:card:{number}".encode(), encoded(body))

    def _add(self):
        customer, scope = self._customer(), self._scope()
        item = self._identifier(customer)
        self._given.append((customer, scope, item))
        del self._given[:-REMEMBERED]
        return self._request(customer, **scope, add=item)

    def _remove(self):
        if not self._given:
            return self._add()
        customer, scope, item = self._dice.choice(self._given)
        return self._request(customer, **scope, remove=item)

    def _several(self):
        """Removes and adds, a card among them, perhaps."""
        customer = self._customer()
        adds = {text(item): item for item in (self._identifier(customer) for _ in range(3))}
        removes = {text(item): item for item in (self._identifier(customer) for _ in range(2))}
        lists = {
            "add": list(adds.values()),
            "remove": [item for name, item in removes.items() if name not in adds],
        }
        if self._dice.random() < 0.3:
            lists["add"].append(self._card(statusLabel="ACTIVE"))
        return self._request(customer, **self._scope(), **lists)

    def _issue(self):
        customer = self._customer()
        label = self._dice.choices(LABELS, (20, 60, 10, 5, 5))[0]
        self._given.append((customer, self._scope(), card := self._card()))
        return self._request(customer, **self._scope(), add=card | {"statusLabel": label})

    def _remove_card(self):
        cards = [one for one in self._given if one[2]["type"] == "cardnumber"]
        if not cards:
            return self._issue()
        customer, scope, card = self._dice.choice(cards)
        return self._request(customer, **scope, remove=card)

    def _relabel(self):
        cards = [one for one in self._given if one[2]["type"] == "cardnumber"]
        if not cards:
            return self._issue()
        customer, scope, card = self._dice.choice(cards)
        return self._request(customer, **scope, add=card | {"statusLabel": self._dice.choice(LABELS)})

    def _repeat(self):
        """The same message again, as a producer does that is not sure that it went out."""
        return self._dice.choice(self._recent)

    def _reused(self):
        """Another message under the id of one before it."""
        body = json.loads(self._dice.choice(self._recent).value)
        if "requestId" not in body:
            return self._repeat()
        message = self._dice.choice((Workload._add, Workload._registration_again, Workload._card_registration))(self)
        fields = json.loads(message.value) | {"requestId": body["requestId"], "orgId": ORG}
        return Message(message.topic, message.key, encoded(fields))

    def _without_id(self):
        message = self._add()
        return Message(message.topic, message.key, encoded({**json.loads(message.value), "requestId": None}))

    def _rejected(self):
        """Well-formed, and to be rejected: nobody knows the customer, the source, the org, or the value is none."""
        customer = self._customer()
        match self._dice.randrange(5):
            case 0:
                return self._request(self._customers + 1_000_000, source="INSTORE", add=self._identifier(customer))
            case 1:
                return self._request(customer, source="NOWHERE", add=self._identifier(customer))
            case 2:
                return self._request(customer, source="INSTORE", add={"type": "mobile", "value": "12"})
            case 3:
                return self._request(customer, source="INSTORE", add={"type": "email", "value": "Test@Test.com"})
            case _:
                body = json.loads(self._request(customer, source="INSTORE", add=self._identifier(customer)).value)
                key = key_of(customer, UNKNOWN_ORG)
                return Message(UPDATES, key, encoded(body | {"orgId": UNKNOWN_ORG}))

    def _torn(self):
        """No well-formed request, in one of many ways; its customer's next requests go on behind it."""
        customer = self._customer()
        good = self._request(customer, source="INSTORE", add=self._identifier(customer)).value
        match self._dice.randrange(6):
            case 0:
                bad = good[: self._dice.randrange(len(good))]
            case 1:
                bad = good[:-1] + b',"Add":[]}'
            case 2:
                bad = good.replace(b'"INSTORE"', b'"IN\xffSTORE"')
            case 3:
                bad = good.replace(b'"orgId":', b'"orgId":1,"orgId":')
            case 4:
                bad = good.replace(b'"INSTORE"', b"NaN")
            case _:
                one = b'{"type":"line","value":"l"}'
                bad = good[:-1] + b',"remove":[' + b",".join([one] * 64) + b"]}"
        return Message(UPDATES, key_of(customer), bad, letter=True)


MIX = (
    (Workload._registration, 10), (Workload._registration_again, 1), (Workload._card_registration, 1),
    (Workload._add, 45), (Workload._remove, 12), (Workload._several, 7),
    (Workload._issue, 6), (Workload._relabel, 2), (Workload._remove_card, 3),
    (Workload._repeat, 5), (Workload._reused, 2), (Workload._without_id, 3),
    (Workload._rejected, 2), (Workload._torn, 1),
)  # fmt: skip


def key_of(customer, org=ORG):
    return f"{org}:{customer}".encode()


def encoded(body):
    return json.dumps(body, separators=(",", ":")).encode()


def text(item):
    return f"{item['type']} {item['value']}"
