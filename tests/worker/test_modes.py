"""The ways a worker can be told to work: at_least_once, and requests that their producers key."""

import json
from collections import defaultdict

from tests.worker.harness import COMMANDS, OUTCOMES, UPDATES, adding
from tests.worker.load import load, moves, owns, without_offsets

CUSTOMERS = range(1, 21)
AT_LEAST_ONCE = {"MERGELINE_DELIVERY": "at_least_once"}
KEYED = {"MERGELINE_REQUESTS_KEYED": "true"}


async def test_with_at_least_once_a_killed_worker_may_repeat_itself_byte_for_byte(module_world):
    worker = module_world.worker(**AT_LEAST_ONCE)
    await module_world.register(CUSTOMERS)
    async with load(module_world, "at-least-once", CUSTOMERS, exactly=False):
        await moves(module_world)
        worker.kill()
        worker = module_world.worker(**AT_LEAST_ONCE)
        await moves(module_world)
    said = defaultdict(set)
    for record in module_world.records[OUTCOMES]:
        said[json.loads(record.value)["requestId"]].add((record.value, record.headers))
    assert [name for name, variants in said.items() if len(variants) > 1] == []
    assert worker.stop()[0] == 0


async def test_requests_keyed_by_their_producers_need_no_hop_once_the_internal_topic_is_drained(module_world):
    origin = [("mergeline-origin", f"{UPDATES}/0/{10**9}/{10**12}/0".encode())]
    await module_world.produce(COMMANDS, [adding(1, "left-behind")], key=b"100737:1", headers=origin)
    refused = module_world.worker(**KEYED, MERGELINE_START_TIMEOUT_MS="100")
    await module_world.until(lambda: not refused.running, "it refuses to start")
    assert refused.process.returncode == 2
    assert f"{COMMANDS} still holds 1 messages" in refused.text
    assert "Traceback" not in refused.text

    drains = module_world.worker()
    await module_world.answered(["left-behind"])
    await module_world.drained()
    assert drains.stop()[0] == 0

    hops = sum((await module_world.ends(COMMANDS)).values())
    keyed = module_world.worker(**KEYED)
    async with load(module_world, "keyed", CUSTOMERS):
        await moves(module_world)
    assert sum((await module_world.ends(COMMANDS)).values()) == hops
    await module_world.command("verify")

    # And back, and again: what the router has read meanwhile is not taken for what the database has forgotten.
    assert keyed.stop()[0] == 0
    for settings in ({}, KEYED):
        keyed = module_world.worker(**settings)
        await module_world.outcomes_of([adding(one, f"again-{len(settings)}-{one}") for one in CUSTOMERS])
        if not settings:
            await module_world.drained()
            assert keyed.stop()[0] == 0

    # Nobody is subscribed to the internal topic any more, so the group's offsets of it expire before its records.
    assert keyed.stop()[0] == 0
    await without_offsets(module_world)
    again = module_world.worker(**KEYED)
    await module_world.until(lambda: again.events("assignment.opened"), "it starts all the same")


async def test_who_routed_and_was_killed_has_not_said_how_far_it_got_and_the_next_one_says_it_when_it_stops(world):
    routing = world.worker()
    await world.register(range(1, 6))
    await world.drained()
    routing.kill()
    refused = world.worker(**KEYED, MERGELINE_START_TIMEOUT_MS="100")
    await world.until(lambda: not refused.running, "it refuses to start")
    assert refused.process.returncode == 2
    assert f"{COMMANDS} still holds" in refused.text
    routing = world.worker()
    await world.until(lambda: owns(routing), "it has its partitions")
    assert routing.stop()[0] == 0
    world.worker(**KEYED)
    await world.outcomes_of([adding(1, "keyed")])
    await world.drained()
    assert set(world.answers().values()) == {1}


async def test_what_a_keyed_worker_stored_and_did_not_publish_is_not_routed_away(world):
    """Routed, it would be known by its request id, and dropped: it took effect, and nobody would hear of it."""
    before = world.worker(**KEYED)
    await world.register(range(1, 6))
    await world.drained()
    assert before.stop()[0] == 0
    stopping = world.worker(
        "tests.worker.stopping", MERGELINE_TEST_STOP_AT="stored", MERGELINE_TEST_STOP_BY="SIGKILL",
        MERGELINE_TEST_STOP_NTH="1", MERGELINE_TRANSACTION_TIMEOUT_MS="300000", **KEYED,
    )  # fmt: skip
    await world.until(lambda: owns(stopping), "it has its partitions")
    requests = [adding(number % 5 + 1, f"left-{number}") for number in range(20)]
    await world.produce(UPDATES, requests)
    await world.until(lambda: not stopping.running, "it stops there")
    await world.until_nobody_is_in_the_group()
    routing = world.worker()
    await world.until(lambda: not routing.running, "it refuses")
    assert routing.process.returncode == 2, routing.log_tail()
    assert "workers with MERGELINE_REQUESTS_KEYED=true have stored answers" in routing.text
    keyed = world.worker(**KEYED)
    await world.answered(request["requestId"] for request in requests)
    await world.drained()
    assert keyed.stop()[0] == 0
    world.worker()
    await world.outcomes_of([adding(1, "routed")])
    await world.drained()
    assert {name for name, count in world.answers().items() if count != 1} == set()
