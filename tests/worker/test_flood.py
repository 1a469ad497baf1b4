"""A flood of dead letters ends the worker with a clear line, until an operator lets it pass."""

from tests.worker.harness import UPDATES

LIMIT = {"MERGELINE_DEAD_LETTER_LIMIT": "1100"}
KEY = b"one partition"


async def test_more_dead_letters_in_a_row_than_the_limit_end_the_worker_also_across_a_restart(world):
    worker = world.worker(**LIMIT)
    bad = [b"bad %d" % number for number in range(1_600)]
    await world.produce(UPDATES, bad[:600], key=KEY)
    await world.drained()
    assert worker.stop()[0] == 0

    worker = world.worker(**LIMIT)
    await world.produce(UPDATES, bad[600:], key=KEY)  # 1,000 read since it was assigned, and 1,600 in a row
    await world.until(lambda: not worker.running, "the worker ends itself")
    assert worker.process.returncode == 2
    (said,) = [line for line in worker.text.splitlines() if not line.startswith("{")]
    assert said.startswith("mergeline: ")
    assert f"dead letters in a row came from {UPDATES}" in said
    assert "MERGELINE_DEAD_LETTER_LIMIT" in said
    assert len(world.records[f"{UPDATES}-dlt"]) < len(bad)

    again = world.worker(MERGELINE_DEAD_LETTER_LIMIT="0")
    await world.drained()
    assert [record.value for record in world.records[f"{UPDATES}-dlt"]] == bad
    assert again.running
