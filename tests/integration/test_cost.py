"""A batch takes a fixed number of statements, whatever its size; what has nothing to do sends none."""

from tests.integration.desk import AT, Desk, Gate, issue, line
from tests.integration.test_merges import meets

from mergeline.store.progress import Progress

LOCKING = ["begin", "discover", "lock", "read"]


async def statements(store, gate, messages, **arguments):
    gate.passed.clear()
    answers = await store.apply(messages, **arguments)
    assert {answer.kind for answer in answers} <= {"applied", "dead_letter"}
    return list(gate.passed)


async def test_one_message_and_five_hundred_take_the_same_statements(new_store):
    gate = Gate()
    store = await new_store(gate)
    desk = Desk(store)
    await desk.register(*range(1, 1_501))
    await desk.apply(*(desk.log.card(f"c-{number}") for number in range(1_501)))

    def everything(first: int, customers: int):
        """For each three customers: an add, a card, a remove, a merge."""
        for number in range(first, first + customers, 3):
            yield desk.log.update(number, add=[line(f"x-{number}"), issue(f"c-{number}")])
            yield desk.log.update(number + 2, source="ECOMMERCE", remove=line(f"of-{number + 2}"))
            yield meets(desk, number, number + 1)
            yield desk.log.put("identifier-updates", b"{", partition=3)

    one = await statements(store, gate, list(everything(1, 3)), progress={AT: Progress(1)})
    many = await statements(store, gate, list(everything(4, 372)), progress={AT: Progress(2)})
    assert many == one
    assert len(one) == 12


async def test_what_is_plain_sends_what_it_needs_and_no_more(new_store):
    gate = Gate()
    desk = Desk(await new_store(gate))
    await desk.register(1)
    plain = await statements(desk.store, gate, [desk.log.update(1, add=line("x"))], progress={AT: Progress(1)})
    assert plain == [
        *LOCKING,
        "write",
        "ledger_insert",
        "commit",
    ]


async def test_progress_alone_takes_no_lock(new_store):
    gate = Gate()
    store = await new_store(gate)
    assert await statements(store, gate, [], progress={AT: Progress(7)}) == ["begin", "write", "commit"]
