"""What a repeat gets: from its producer, with another body, and from the router."""

import json

from tests.worker.harness import COMMANDS, ORG, OUTCOMES, UPDATES, adding, headers, update

DUPLICATE = {"mergeline-duplicate": b"true"}


def outcomes(world, request_id):
    return [record for record in world.records[OUTCOMES] if json.loads(record.value)["requestId"] == request_id]


def marked(record):
    return {name: value for name, value in record.headers if name == "mergeline-duplicate"}


async def test_a_repeat_from_its_producer_gets_the_stored_outcome_again_once_for_each_and_flagged(served):
    await served.register([21])
    await served.produce(UPDATES, [adding(21, "again")] * 2)
    await served.answered(["again"])
    await served.produce(UPDATES, [adding(21, "again")])  # and one long after
    await served.drained()

    first, *repeats = outcomes(served, "again")
    assert marked(first) == {}
    assert [marked(repeat) for repeat in repeats] == [DUPLICATE] * 2
    assert [repeat.value for repeat in repeats] == [first.value] * 2
    assert [headers(repeat)["ce_id"] == headers(first)["ce_id"] for repeat in repeats] == [True] * 2
    changes = [value for value in served.values("identifiers-changed") if value["requestId"] == "again"]
    assert len(changes) == 1, "no new effect"


async def test_a_rejection_is_repeated_too_though_it_would_apply_by_now(served):
    request = update(22, "too-early", add={"type": "email", "value": "early@example.com"})
    (early,) = await served.outcomes_of([request])
    assert (early["status"], early["errors"][0]["code"]) == ("rejected", "CUSTOMER_NOT_FOUND")
    await served.register([22])
    await served.produce(UPDATES, [request])
    await served.drained()
    first, repeat = outcomes(served, "too-early")
    assert (repeat.value, marked(repeat)) == (first.value, DUPLICATE)


async def test_the_same_id_with_another_body_is_rejected_each_time(served):
    await served.register([23])
    await served.produce(UPDATES, [adding(23, "reused"), *[adding(23, "reused", "another")] * 2])
    await served.drained()
    values = [json.loads(record.value) for record in outcomes(served, "reused")]
    assert [value["status"] for value in values] == ["applied", "rejected", "rejected"]
    assert {error["code"] for value in values[1:] for error in value["errors"]} == {"REQUEST_ID_REUSED"}


async def test_what_the_router_sends_twice_is_answered_once(served):
    await served.register([24])
    request = adding(24, "routed-twice")
    (place,) = await served.produce(UPDATES, [request])
    await served.answered(["routed-twice"])

    key = b"100737:24"
    origin = f"{UPDATES}/{place.partition}/{place.offset}/{place.timestamp}/1".encode()
    repeat = [("mergeline-origin", origin), ("mergeline-origin-key", key)]
    await served.produce(COMMANDS, [request] * 2, key=key, headers=repeat)
    await served.drained()
    assert served.answers()["routed-twice"] == 1


async def test_requests_of_a_customer_are_applied_in_the_order_they_were_produced(served):
    await served.register([25])
    item = {"type": "externalId", "value": "in and out"}
    turns = [update(25, f"turn-{n}", "WECHAT", "a", **{("add", "remove")[n % 2]: item}) for n in range(60)]
    await served.produce(UPDATES, turns)
    await served.drained()
    found = [v for v in served.values(OUTCOMES) if (v["orgId"], v["customerId"]) == (ORG, 25)]
    assert [value["requestId"] for value in found] == [request["requestId"] for request in turns]
    assert {value["status"] for value in found} == {"applied"}
    assert [value["customerVersion"] for value in found] == sorted(value["customerVersion"] for value in found)
