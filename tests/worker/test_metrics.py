"""`/metrics` of a real worker says what the table of `deploy/README.md` says it does."""

import asyncio
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.worker.harness import COMMANDS, CUSTOMERS, SOON_STALLED, UPDATES, adding

from mergeline.embedded.ports import free_ports
from mergeline.metrics import REGISTRY


async def scraped(port):
    """Of each sample, by its name and labels, the value."""

    def get():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return answer.read().decode()

    families = text_string_to_metric_families(await asyncio.to_thread(get))
    return {(one.name, *sorted(one.labels.items())): one.value for family in families for one in family.samples}


def of(samples, name):
    return {tuple(dict(labels).values()): value for (found, *labels), value in samples.items() if found == name}


@pytest.fixture(scope="module")
async def port(module_world):
    """Of a worker that has answered each kind of message but those of a crash."""
    (port,) = free_ports(1)
    worker = module_world.worker(MERGELINE_HTTP_PORT=str(port), **SOON_STALLED)
    await module_world.register([1])
    first, other = adding(1, "first"), adding(1, "first", "of another body")
    rejected = adding(2, "rejected")
    for sent in (first, first, other, rejected, b"torn", adding(1, "unchanged", "of first")):
        await module_world.produce(UPDATES, [sent])
    await module_world.drained()
    assert worker.running
    return port


async def test_messages_are_counted_by_their_topic_and_answer(port):
    counted = of(await scraped(port), "mergeline_messages_total")
    assert {key: value for key, value in counted.items() if "answered" not in key} == {
        ("applied", CUSTOMERS): 1,
        ("applied", UPDATES): 1,
        ("repeat", UPDATES): 1,
        ("reused", UPDATES): 1,
        ("rejected", UPDATES): 1,
        ("dead_letter", UPDATES): 1,
        ("unchanged", UPDATES): 1,
    }


async def test_partitions_stages_and_steps_are_those_of_the_table(port):
    samples = await scraped(port)
    assert of(samples, "mergeline_assigned_partitions") == {(): 12.0}
    assert {key for (key,) in of(samples, "mergeline_batch_messages_count")} == {"route", "apply"}
    steps = {(stage, step) for stage in ("route", "apply") for step in ("process", "publish")}
    assert set(of(samples, "mergeline_step_seconds_count")) == steps
    # What has a label appears when it is first counted, here by other tests perhaps.
    always = {f.name for f in REGISTRY.collect()} - {"mergeline_publish_failures"}
    shown = {name.removesuffix("_total").removesuffix("_count") for name, *_ in samples}
    assert always <= shown


async def test_the_lag_of_an_idle_partition_is_that_of_end_markers_at_most(module_world, port):
    topics = {f"{module_world.prefix}{topic}" for topic in (CUSTOMERS, UPDATES, COMMANDS)}
    lag = {}
    async with asyncio.timeout(30):
        while not topics <= {topic for _, topic in lag} or sum(lag.values()) > len(lag):
            lag = of(await scraped(port), "mergeline_lag_messages")
            await asyncio.sleep(0.2)


async def test_nothing_is_old_once_all_was_answered(port):
    async with asyncio.timeout(30):
        while of(await scraped(port), "mergeline_oldest_seconds") != {(): 0.0}:
            await asyncio.sleep(0.2)
