"""Whether each message was answered as the contract promises, told by what was sent and what was published.

In: every message of the public topics, every outcome, every dead letter, and for each change event what it says of its
request. Out: defects. Memory: a few hundred bytes a request; of messages and outcomes themselves only digests stay.
"""

import hashlib
from array import array
from collections import Counter, defaultdict
from uuid import NAMESPACE_URL, uuid5

import orjson

NAMESPACE = uuid5(NAMESPACE_URL, "urn:mergeline:events")
OUTCOME_OF = {
    "identifier-updates": "update-outcomes",
    "customer-registrations": "registration-outcomes",
    "card-registrations": "registration-outcomes",
}
DIGEST_BYTES = 8
ORDER_BITS = (1 << 61) - 1
APPLIED = "applied"


class Request:
    """One request id: the bodies that came under it, and how they were answered."""

    __slots__ = ("again", "bodies", "changes", "first", "last_version", "merged", "reused", "said")

    def __init__(self):
        self.bodies = ()  # the SHA-256 of each message, repeats too
        self.first = ()  # the digest of each answer that is not flagged as a repeat; there must be one
        self.again = ()  # those of the repeats
        self.reused = ()  # the event id of each answer that says that the id was used before
        self.said = None  # (status, customerVersion, mergedInto, topic) of the first answer
        self.changes = self.last_version = 0  # its change events, and the highest version among them
        self.merged = None  # the survivor, by the merge event


class Answers:
    """Messages and answers, matched."""

    def __init__(self, defects):
        self._defects = defects
        self.requests = defaultdict(Request)
        self.messages = self.letters = 0
        self._orders = defaultdict(lambda: [0, 0, 0, 0])
        self._bodies = defaultdict(lambda: array("Q"))  # by partition, at the offset: what the message was
        self._expected_letters = set()
        self._letters_due, self._letters_read = {}, Counter()
        self._acknowledged = {}

    # ------------------------------------------------------------ what went in

    def expect_letter(self, value):
        """A message that is no well-formed request is about to be sent."""
        self._expected_letters.add(digest(value))

    def acknowledged(self, topic, partition, offset, value):
        """A broker said that it has this message: it must be found in the log."""
        place = (topic, partition, offset)
        if self._body_at(place):
            self._check_kept(place, digest(value))
        else:
            self._acknowledged[place] = digest(value)

    def message(self, topic, record):
        """A message, as it lies in the log."""
        self.messages += 1
        place, own = (topic, record.partition, record.offset), digest(record.value)
        kept = self._bodies[topic, record.partition]
        kept.extend([0] * (record.offset + 1 - len(kept)))
        kept[record.offset] = own
        if place in self._acknowledged:
            self._check_kept(place, self._acknowledged.pop(place))
        if own in self._expected_letters:
            self._letters_due[place] = (own, record.key, headers_digest(record.headers))
            return
        body = orjson.loads(record.value)
        name = f"{body['orgId']}:{body.get('requestId') or '-'.join(map(str, place))}"
        self.requests[name].bodies += (hashlib.sha256(record.value).digest(),)
        self._in_order(OUTCOME_OF[topic], record.key, name, 0)

    def body_at(self, topic, partition, offset):
        """The digest of the message there; 0 where there is none."""
        return self._body_at((topic, partition, offset))

    def _body_at(self, place):
        topic, partition, offset = place
        kept = self._bodies.get((topic, partition), ())
        return kept[offset] if offset < len(kept) else 0

    def _check_kept(self, place, value_digest):
        if self._body_at(place) != value_digest:
            self._defects.add("the log has another message than was acknowledged", place)

    # ------------------------------------------------------------ what came out

    def outcome(self, topic, record, data, headers):
        name = f"{data['orgId']}:{data['requestId']}"
        request = self.requests[name]
        self._in_order(topic, record.key, name, 1)
        own = answer_digest(topic, record, headers)
        if headers.get("mergeline-duplicate") == b"true":
            request.again += (own,)
        elif [error["code"] for error in data["errors"]] == ["REQUEST_ID_REUSED"]:
            request.reused += (headers["ce_id"].decode(),)
        else:
            request.first += (own,)
            request.said = (data["status"], data.get("customerVersion"), data.get("mergedInto"), "cardNumber" in data)

    def change(self, data, survivor=None):
        """What a change event says of its request; `survivor` of a merge event."""
        request = self.requests[f"{data['orgId']}:{data['requestId']}"]
        request.changes += 1
        request.last_version = max(request.last_version, data["customerVersion"])
        if survivor is not None:
            request.merged = survivor

    def letter(self, topic, record, headers):
        """A dead letter, held against its message whenever both are known."""
        self.letters += 1
        original = headers["kafka_dlt-original-topic"].decode()
        place = (
            topic.removesuffix("-dlt"),
            int(headers["kafka_dlt-original-partition"]),
            int(headers["kafka_dlt-original-offset"]),
        )
        own = [header for header in record.headers if not header[0].startswith("kafka_dlt-")]
        self._letters_read[place, (digest(record.value), record.key, headers_digest(own))] += 1
        if not original.endswith(place[0]):
            self._defects.add("a dead letter in the topic of another", place)

    def has_letter(self, place):
        return place in self._letters_due

    # ------------------------------------------------------------ the judgement

    def judge(self):
        for name, request in self.requests.items():
            self._judge_request(name, request)
        for (topic, key), (sums_in, chain_in, sums_out, chain_out) in self._orders.items():
            if sums_in == sums_out and chain_in != chain_out:
                self._defects.add("answered in another order than sent", f"{topic} {key}")
        self._judge_letters()
        for place in self._acknowledged:
            self._defects.add("acknowledged, but not in the log", place)

    def _judge_request(self, name, request):
        if not request.bodies:
            self._defects.add("answered without a message", name)
        elif not request.first:
            self._defects.add("lost", name)
        elif len(request.first) > 1:
            self._defects.add("answered twice", name)
        else:
            self._judge_repeats(name, request)
            self._judge_changes(name, request)

    def _judge_repeats(self, name, request):
        """Whichever body came first was decided; its repeats are flagged, the others said to reuse the id."""
        for other in request.again:
            if other != request.first[0]:
                self._defects.add("a repeat in other bytes", name)
        counts, reused = Counter(request.bodies), Counter(request.reused)
        for body in counts:
            others = {reused_id(name, other): number for other, number in counts.items() if other != body}
            if len(request.again) == counts[body] - 1 and reused == others:
                return
        self._defects.add("wrong number of repeats, or of reused ids", f"{name}: {len(request.bodies)} messages")

    def _judge_changes(self, name, request):
        status, version, merged_into, is_card = request.said
        if status != APPLIED:
            if request.changes:
                self._defects.add("a change by a request that was not applied", name)
        elif is_card:
            if request.changes:
                self._defects.add("a change by the registration of a card", name)
        elif request.changes and request.last_version != version:
            self._defects.add("outcome and events disagree about the version", name)
        elif not request.changes and version != 0:
            self._defects.add("applied without a change event", name)
        elif merged_into is not None and request.merged != merged_into:
            self._defects.add("outcome and merge event disagree", name)

    def _judge_letters(self):
        read = defaultdict(list)
        for (place, what), number in self._letters_read.items():
            read[place] += [what] * number
        for place, due in self._letters_due.items():
            found = read.pop(place, [])
            if not found:
                self._defects.add("dead letter lost", place)
            elif len(found) > 1:
                self._defects.add("dead letter twice", place)
            elif found[0] != due:
                self._defects.add("dead letter in other bytes", place)
        for place in read:
            self._defects.add("dead letter of a well-formed request", place)

    def _in_order(self, topic, key, name, side):
        """Sums say whether both sides have the same requests, chains whether in the same order."""
        order = self._orders[topic, key]
        own = hash(name) & ORDER_BITS
        order[2 * side] += own
        order[2 * side + 1] = hash((order[2 * side + 1], own))


def digest(value):
    return int.from_bytes(hashlib.blake2b(value or b"", digest_size=DIGEST_BYTES).digest()) or 1


def headers_digest(headers):
    return hash(tuple((name, value) for name, value in headers))


def answer_digest(topic, record, headers):
    """What the first answer and its repeats must have in common: all but the flag."""
    parts = (headers["ce_id"], headers["ce_type"], headers["ce_time"], headers["ce_subject"], record.key or b"")
    return digest(b"\0".join((topic.encode(), *parts, record.value)))


def reused_id(name, body_sha256):
    return str(uuid5(NAMESPACE, f"{name}:reused:{body_sha256.hex()}"))
