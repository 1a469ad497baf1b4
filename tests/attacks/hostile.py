"""Hostile messages: what a schema allows, what it just does not, and what no sender in its right mind would send.

In: a seed. Out: `Sent`s, each a record for a topic, the same for the same seed. Never: a look at the code under test.
The schemas of `schemas/requests` drive the first two kinds: `Schema.valid` walks one and makes a document of it, and
`Schema.broken` breaks one rule of it in one place. `Mutator` damages bytes.
"""

import copy
import json
import random
from dataclasses import dataclass
from pathlib import Path

SCHEMAS = Path(__file__).parents[2] / "schemas" / "requests"
UPDATES, CUSTOMERS, CARDS = "identifier-updates", "customer-registrations", "card-registrations"
COMMANDS = "commands-by-customer"
TOPICS = (UPDATES, CUSTOMERS, CARDS)
FILES = {UPDATES: "identifier-update", CUSTOMERS: "customer-registration", CARDS: "card-registration"}
ORG = 100737
KNOWN_CUSTOMERS = 200
VALID_KEPT = 300
"""Documents to choose from: a new one for each message would cost most of the time."""
FORGED_PARTITION = 1_000_000
"""Origins that forged records of the internal topic claim: of partitions that no topic has."""

# Compatibility forms, case that does not come back, combining, zero width, right to left, digits of other scripts.
UNICODE = (
    *("\u00e9", "\ufb01", "\u00df", "\u0130", "\u0131", "\u017f", "\u00c5", "\u212b", "\u0301", "\u200b", "\u200d"),
    *("\u202e", "\ufeff", "\U0001f469\u200d\U0001f469", "\U0001f600", "\U0010ffff", "\uffff", "\ufffd", "\u05d0"),
    *("\u0e01", "\u4e2d", "\u0663", "\uff11", "\u00a0", "\u1680", "\u2028", "\u3000", "\u180e"),
)
CONTROLS = tuple(map(chr, (0, 1, 8, 9, 10, 13, 27, 31, 127, 128, 133, 159)))
NUMBERS = (
    *("0", "-0", "-1", "1.0", "1e3", "1E400", "-1e-400", "01", "+1", ".5", "1.", "0x10", "1_000", "NaN", "Infinity"),
    *("-Infinity", str(2**31), str(2**53 + 1), str(2**63 - 1), str(2**63), str(2**64), "9" * 40, "9" * 5_000),
    *("1" + "0" * 60_000, "-" + "9" * 4_301, "1e" + "9" * 30, "0." + "1" * 3_000, "true", "null", "nul", '"1"', ""),
)
STRANGE = (
    *(None, True, False, 0, -1, 1, 1.5, 2**31, 2**53, 2**63 - 1, 2**63, 10**40, "", " ", "\0", "x", "null", "NaN"),
    *("x" * 255, "x" * 256, "😀" * 255, "y" * 3_000, "\ud800", "\udfff\ud800", "\u3000", "' or 1=1 --", "%s%n{0}${x}"),
    *([], {}, [[]], [None], [{}], {"": {}}, {"__proto__": 1}, {"type": "email"}, [[[[[[[[]]]]]]]], ["a", {"b": [1]}]),
)


@dataclass(frozen=True, slots=True)
class Sent:
    """A record to send; `origin` is where a record of the internal topic says that it came from, None for its own."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[bytes, bytes | None], ...] = ()
    timestamp_ms: int | None = None
    kind: str = ""
    origin: tuple[str, int, int] | None = None


# ---------------------------------------------------------------- from the schemas


class Schema:
    """Documents that one of the request schemas takes, and such with one rule broken."""

    def __init__(self, topic, dice):
        self.dice = dice
        self.root = json.loads((SCHEMAS / f"{FILES[topic]}.schema.json").read_bytes())

    def valid(self, part=None):
        """A document (or a part of one) that the schema takes."""
        part = self._of(part if part is not None else self.root)
        if "const" in part:
            return part["const"]
        if "enum" in part:
            return self.dice.choice(part["enum"])
        if "oneOf" in part and "type" not in part:
            return self.valid(self.dice.choice(part["oneOf"]))
        kinds = part.get("type", "object")
        kind = self.dice.choice(kinds) if isinstance(kinds, list) else kinds
        return getattr(self, f"_{kind}")(part)

    def broken(self, document):
        """The document with one rule broken somewhere."""
        places = [(document, self.root)]
        for field in ("add", "remove", "identifiers"):
            items = document.get(field)
            items = items if isinstance(items, list) else [items]
            places += [(item, None) for item in items if isinstance(item, dict)]
        place, _ = self.dice.choice(places)
        field = self.dice.choice([*place, "seriesId", "seriesCode", "statusLabel", "accountId", "Add", "x"])
        value = place.get(field)
        match self.dice.randrange(8):
            case 0:
                place.pop(field, None)
            case 1:
                place[field] = self.dice.choice(STRANGE)
            case 2:
                place[self.dice.choice((field.upper(), field + " ", "_" + field, "", "\0" + field))] = value
            case 3 if isinstance(value, str):
                place[field] = value[:100] + self.dice.choice(CONTROLS)
            case 4 if isinstance(value, str):
                place[field] = value.ljust(self.dice.choice((255, 256, 257, 2_000)), "z")
            case 5 if isinstance(value, int):
                place[field] = self.dice.choice((0, -value, value + 2**63, float(value), str(value), [value]))
            case 6 if isinstance(value, list) and value:
                place[field] = (value * 65)[: self.dice.choice((64, 65, 200))]
            case _:
                place[field] = [value]
        return document

    def _of(self, part):
        while "$ref" in part:
            part = self.root["$defs"][part["$ref"].rpartition("/")[2]]
        return part

    def _null(self, _):
        return None

    def _integer(self, part):
        low, high = part.get("minimum", 1), part.get("maximum", 2**63 - 1)
        return self.dice.choice((low, high, self.dice.randint(low, min(high, low + KNOWN_CUSTOMERS))))

    def _string(self, part):
        pattern = part.get("pattern", "")
        if pattern.startswith("^[0-9]{4}"):
            return self.dice.choice(
                ("2026-11-21T10:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:60.999999999Z",
                 "2026-02-28t23:59:59.5+23:59", "1969-12-31T23:59:59-00:00", "2024-02-29T00:00:00z")
            )  # fmt: skip
        if "!-~" in pattern:
            return f"h{self.dice.randrange(1 << 60)}"
        text = f"v{self.dice.randrange(500)}"
        if not self.dice.randrange(4):
            text += self.dice.choice(UNICODE) * self.dice.choice((1, 1, 3, 100))
        return text[: part.get("maxLength", 255)]

    def _array(self, part):
        return [self.valid(part["items"]) for _ in range(self.dice.choice((0, 1, 1, 2, 3, 8)))]

    def _object(self, part):
        fields = part["properties"]
        document = {name: self.valid(rule) for name, rule in fields.items() if self.dice.random() < 0.5}
        for name in part.get("required", ()):
            document[name] = self.valid(fields[name])
        self._meet(part, document, fields)
        return document

    def _meet(self, part, document, fields):
        """What the rules of a whole object want of its fields together."""
        if "if" in part:
            ((name, rule),) = part["if"]["properties"].items()
            chosen = part["then" if document.get(name) in rule["enum"] else "else"]
            for field, wanted in chosen.get("properties", {}).items():
                if wanted == {"type": "null"}:
                    document.pop(field, None)
            self._need(chosen, document, fields)
        self._need(part, document, fields)

    def _need(self, rule, document, fields):
        for name in rule.get("not", {}).get("required", ())[1:]:
            document.pop(name, None)
        for name in rule.get("required", ()):
            while document.get(name) in (None, []):
                document[name] = self.valid(fields[name])
        for keyword in ("oneOf", "anyOf"):
            choices = [choice["required"][0] for choice in rule.get(keyword, ()) if "required" in choice]
            if choices:
                kept = self.dice.choice(choices)
                for name in choices if keyword == "oneOf" else ():
                    document.pop(name, None)
                while document.get(kept) in (None, []):
                    document[kept] = self.valid(fields[kept])


# ---------------------------------------------------------------- bytes


class Mutator:
    """Damage to the bytes of a document."""

    def __init__(self, dice):
        self.dice = dice
        self._ways = [
            *(self._flipped, self._cut, self._spliced, self._number, self._number, self._twice, self._surrogate),
            *(
                self._nul,
                self._deep,
                self._huge,
                self._encoded,
                self._bom,
                self._control,
                self._nothing,
                self._repeated,
            ),
            *(self._padded, self._escaped, self._overlong, self._two, self._commented),
        ]

    def damaged(self, text):
        """The text's bytes, damaged in one way or two."""
        data = self.dice.choice(self._ways)(text)
        if data and not self.dice.randrange(5):
            data = self._flipped(data.decode(errors="replace"))
        return data

    def _somewhere(self, data):
        return self.dice.randrange(len(data) + 1)

    def _flipped(self, text):
        data = bytearray(text.encode(errors="replace"))
        for _ in range(self.dice.choice((1, 1, 2, 10))):
            if data:
                data[self.dice.randrange(len(data))] ^= 1 << self.dice.randrange(8)
        return bytes(data)

    def _cut(self, text):
        data = text.encode(errors="replace")
        return data[: self._somewhere(data)] if self.dice.randrange(3) else data[self._somewhere(data) :]

    def _spliced(self, text):
        at = self._somewhere(text)
        piece = self.dice.choice(("{", "}", "[", "]", ",", ":", '"', "\\", "\\u12", "\\x41", "'", "\t", "null", "//"))
        return (text[:at] + piece + text[at:]).encode(errors="replace")

    def _number(self, text):
        digits = [at for at, one in enumerate(text) if one.isdigit() and one.isascii()]
        if not digits:
            return b"7"
        first = last = self.dice.choice(digits)
        while first and text[first - 1].isdigit():
            first -= 1
        while last + 1 < len(text) and text[last + 1].isdigit():
            last += 1
        return (text[:first] + self.dice.choice(NUMBERS) + text[last + 1 :]).encode(errors="replace")

    def _twice(self, text):
        name = self.dice.choice(("orgId", "customerId", "source", "add", "requestId", "org\\u0049d", "x"))
        rest = self.dice.choice(("1", "null", '"x"', "[]", "{}", '{"a":1,"a":1}'))
        return text.replace("{", f'{{"{name}":{rest},', 1).encode(errors="replace")

    def _surrogate(self, text):
        at = max(text.find('"', self._somewhere(text)), 0)
        piece = self.dice.choice(('"\\ud800', '"\\udc00\\ud800', '"\\ud83d\\ude00', '"\\uD800x', '"\\ud800\\u0041'))
        return (text[:at] + piece + text[at + 1 :]).encode(errors="replace")

    def _nul(self, text):
        at = self._somewhere(text)
        return (text[:at] + self.dice.choice(("\0", "\\u0000", "\0" * 50)) + text[at:]).encode(errors="replace")

    def _deep(self, text):
        depth = self.dice.choice((15, 16, 17, 30, 500, 2_000, 30_000))
        left, right = self.dice.choice((("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")))
        inner = self.dice.choice(("1", text, ""))
        whole = left * depth + inner + right * self.dice.choice((depth, depth, depth - 1))
        return text.replace("{", f'{{"add":{whole},', 1).encode(errors="replace")[:1_000_000]

    def _huge(self, text):
        size = self.dice.choice((1_000, 60_000, 65_000, 66_000))
        return text.replace("{", f'{{"source":"{self.dice.choice("xé中") * size}",', 1).encode()[:200_000]

    def _encoded(self, text):
        return text.encode(self.dice.choice(("utf-16", "utf-32", "latin-1", "utf-7", "cp037")), errors="replace")

    def _bom(self, text):
        return b"\xef\xbb\xbf" * self.dice.choice((1, 2)) + text.encode(errors="replace")

    def _control(self, text):
        at = max(text.find('"', self._somewhere(text)), 0) + 1
        return (text[:at] + self.dice.choice(CONTROLS) + text[at:]).encode(errors="replace")

    def _nothing(self, _):
        return self.dice.choice((None, b"", b" ", b"null", b"0", b'""', b"[]", b"{}", b"\n\n", b"\xff", b"\0"))

    def _repeated(self, text):
        return self.dice.choice((text * 2, text + "\n" + text, f"[{text},{text}]", f'"{text}"')).encode(
            errors="replace"
        )

    def _padded(self, text):
        spaces = self.dice.choice((" ", "\n", "\t\r", "\u00a0")) * self.dice.choice((1, 100, 65_000))
        return self.dice.choice((spaces + text, text + spaces)).encode(errors="replace")

    def _escaped(self, text):
        return "".join(
            f"\\u{ord(one):04x}" if one.isalpha() and not self.dice.randrange(3) else one for one in text
        ).encode(errors="replace")

    def _overlong(self, text):
        data = text.encode(errors="replace")
        at = self._somewhere(data)
        piece = self.dice.choice((b"\xc0\xaf", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80", b"\xf8"))
        return data[:at] + piece + data[at:]

    def _two(self, text):
        return text.encode(errors="replace") + self.dice.choice((b"{}", b",", b"}", b"x", b"\0", b"/**/"))

    def _commented(self, text):
        return self.dice.choice((f"/* x */{text}", f"{text}// x", f"# x\n{text}", text.replace('"', "'"))).encode(
            errors="replace"
        )


# ---------------------------------------------------------------- headers

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
HEADERS = (
    *((b"traceparent", TRACE), (b"traceparent", b""), (b"traceparent", None), (b"traceparent", b"\xff\0" * 40)),
    *((b"traceparent", b"x" * 300), (b"tracestate", b"a=b"), (b"baggage", b"\xff")),
    *(
        (b"mergeline-origin", b"identifier-updates/0/0/0/0"),
        (b"mergeline-origin", None),
        (b"mergeline-origin", b"\xff"),
    ),
    *((b"mergeline-origin-key", b"forged"), (b"mergeline-duplicate", b"true"), (b"mergeline-cut", b"forged")),
    *((b"kafka_dlt-original-topic", b"elsewhere"), (b"kafka_dlt-original-offset", b"-1"), (b"ce_id", b"x")),
    *((b"kafka_dlt-exception-message", None), (b"ce_type", b"\0"), (b"ce_specversion", b"9"), (b"content-type", b"x")),
    *(
        (b"", b""),
        (b"", None),
        (b"\0", b"\0"),
        (b"a b\r\nc: d", b"e\r\n"),
        ("é中😀".encode(), "é".encode()),
        (b"n" * 3_000, b""),
    ),
    *((b"own", b"x" * 5_000), (b"own", b"\xff" * 10), (b"OWN", None), (b"__proto__", b"1")),
)
ODD_NAMES = (b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"ok\xff")
KEYS = (None, b"", b"\0", b"\xff\xfe", b"k" * 5_000, b"100737:1", b"unread:identifier-updates:0", "é".encode())
ORIGINS = (
    *(None, b"", b"\xff\xfe", b"/", b"a/b/c/d/e", b"update-outcomes/0/1/0/0", b"identifier-updates/-1/0/0/0", b"\0"),
    *(b"identifier-updates/0/" + b"9" * 30 + b"/0/0", b"identifier-updates/9999999999/1/0/0"),
    *(b"identifier-updates/0/1/0/2", b"identifier-updates/0/1/0/1", b"identifier-updates\0/0/1/0/0", b"x" * 100_000),
)


class Hostile:
    """An endless run of records; the same seed makes the same ones.

    `large`: the share of those that are around 64 KiB or far above.
    """

    def __init__(self, seed, large=0.001):
        self.seed, self.large = seed, large
        self.dice = random.Random(seed)
        self.schemas = {topic: Schema(topic, self.dice) for topic in TOPICS}
        self.mutator = Mutator(self.dice)
        self._valid = {topic: [self.schemas[topic].valid() for _ in range(VALID_KEPT)] for topic in TOPICS}
        self._last = []
        self._forged = 0

    def __iter__(self):
        return self

    def __next__(self):
        """The next record."""
        dice = self.dice
        chance = dice.random()
        topic = dice.choices(TOPICS, (8, 2, 1))[0]
        if chance < self.large:
            return self._large(topic)
        if chance < 0.02 and self._last:
            return self._again()
        if chance < 0.05:
            return self._inside()
        kind, value = self._value(topic)
        if not dice.randrange(40):
            topic = dice.choice(TOPICS)
        sent = Sent(topic, self._key(value), value, self._headers(), self._timestamp(), kind)
        self._last = [*self._last[-50:], sent]
        return sent

    def _value(self, topic):
        schema, chance = self.schemas[topic], self.dice.random()
        if chance < 0.35:
            return "usual", self._dumped(self._usual(topic))
        if chance < 0.5:
            return "valid", self._dumped(self._at_home(self._some(topic)))
        if chance < 0.75:
            return "broken", self._dumped(self._at_home(schema.broken(copy.deepcopy(self._some(topic)))))
        return "damaged", self.mutator.damaged(json.dumps(self._at_home(self._some(topic)), ensure_ascii=False))

    def _some(self, topic):
        kept, at = self._valid[topic], self.dice.randrange(VALID_KEPT)
        if not self.dice.randrange(20):
            kept[at] = self.schemas[topic].valid()
        document = dict(kept[at])
        if document.get("requestId"):
            document["requestId"] = f"h{self.dice.randrange(1 << 60)}"
        return document

    def _at_home(self, document):
        """Mostly of the org that has a catalog, and of customers that there are."""
        if "orgId" in document and self.dice.random() < 0.8:
            document["orgId"] = ORG
        if "customerId" in document and self.dice.random() < 0.8:
            document["customerId"] = self.dice.randrange(KNOWN_CUSTOMERS) + 1
        if "source" in document and self.dice.random() < 0.6:
            document["source"] = self.dice.choice(("INSTORE", "WEBSHOP"))
            document.pop("accountId", None)
        return document

    def _usual(self, topic):
        """What most requests look like, so that most is answered and customers merge."""
        dice = self.dice
        customer, number = dice.randrange(KNOWN_CUSTOMERS) + 1, dice.randrange(300)
        body = {"orgId": ORG, "customerId": customer, "source": dice.choice(("INSTORE", "WEBSHOP"))}
        kind = dice.choice(("externalId", "email", "line", "mobile"))
        value = {"email": f"m{number}@example.com", "mobile": f"1380000{number:04}"}.get(kind, f"x{number}")
        if topic == CARDS:
            return {"orgId": ORG, "seriesId": 163, "cardNumber": f"C{dice.randrange(1 << 40)}"}
        if topic == CUSTOMERS:
            return body | {"customerId": dice.randrange(1 << 40) + 1_000}
        if dice.random() < 0.3:
            body["requestId"] = f"r{dice.randrange(1 << 60)}"
        return body | {dice.choice(("add", "add", "remove")): {"type": kind, "value": value}}

    def _dumped(self, document):
        return json.dumps(document, ensure_ascii=True).encode()

    def _again(self):
        """One of the last few once more, whole or with another body under the same id."""
        sent = self.dice.choice(self._last)
        value = sent.value
        if value and not self.dice.randrange(3):
            value += b" "
        return Sent(sent.topic, sent.key, value, sent.headers, None, "again")

    def _inside(self):
        """Straight on the internal topic, with a made-up origin or none."""
        value = self._value(UPDATES)[1]
        key = self._key(value)
        if self.dice.random() < 0.5:
            headers = ((b"mergeline-origin", self.dice.choice(ORIGINS)), *self._headers())
            if headers[0][1] == b"identifier-updates/0/1/0/1":
                headers = headers[:1]  # the key that it promises does not follow
            return Sent(COMMANDS, key, value, headers if self.dice.randrange(4) else headers[:0], None, "inside")
        self._forged += 1
        topic = self.dice.choice(TOPICS)
        origin = (topic, FORGED_PARTITION, self._forged)
        added = ((b"mergeline-origin", b"%b/%d/%d/7/0" % (topic.encode(), *origin[1:])),)
        return Sent(COMMANDS, key, value, added + self._headers(), None, "inside, forged", origin)

    def _large(self, topic):
        size = self.dice.choice((65_000, 65_536, 65_537, 65_536, 200_000, 900_000))
        document = json.dumps(self._usual(topic))
        value = document.encode().ljust(size) if self.dice.randrange(2) else bytes(size)
        match self.dice.randrange(8):
            case 0:
                return Sent(topic, bytes(size), document.encode(), (), None, "large key")
            case 1:
                return Sent(topic, b"k", document.encode(), ((b"own", bytes(size)),), None, "large header")
            case 2:
                return Sent(topic, b"k", document.encode(), ((b"own", b""),) * 2_000, None, "many headers")
        return Sent(topic, self._key(value), value, (), None, "large")

    def _key(self, value):
        if self.dice.random() < 0.8:
            return b"%d:%d" % (ORG, self.dice.randrange(KNOWN_CUSTOMERS) + 1)
        key = self.dice.choice(KEYS)
        return b"k" if key is None and value is None else key

    def _headers(self):
        if self.dice.random() < 0.7:
            return ()
        chosen = self.dice.choices(HEADERS, k=self.dice.choice((1, 1, 2, 3, 20)))
        if not self.dice.randrange(100):
            chosen.append((self.dice.choice(ODD_NAMES), b"odd"))
        return tuple(chosen)

    def _timestamp(self):
        return self.dice.choice((0, 1, 1_000_000_000_000)) if not self.dice.randrange(200) else None
