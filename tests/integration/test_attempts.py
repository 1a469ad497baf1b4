"""A batch until it is through: what is transient is tried again, what is too large halved, what is poison found."""

import asyncio
import time

import asyncpg
import pytest
from tests.defaults import default_options, default_retries
from tests.integration.desk import AT, ORG, Desk, Gate, header, kinds, line
from tests.integration.test_merges import meets, sound

from mergeline.domain.messages import Place
from mergeline.errors import SetupError
from mergeline.store import answered
from mergeline.store.apply import Store
from mergeline.store.attempts import apply_with_retries
from mergeline.store.failures import BatchTooLarge, Forgotten, Kind, Overtaken, Unsettled, describe, kind_of
from mergeline.store.framing import unpack
from mergeline.store.locks import lock_key
from mergeline.store.ownership import claim
from mergeline.store.progress import Progress
from mergeline.store.queries import SQL


def postgres(state: str) -> asyncpg.PostgresError:
    return asyncpg.PostgresError.new({"C": state, "M": "said", "D": "Key (value)=(secret@example.com) exists"})


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (postgres("40P01"), Kind.TRANSIENT),  # deadlock
        (postgres("40001"), Kind.TRANSIENT),  # serialisation
        (postgres("55P03"), Kind.TRANSIENT),  # lock not available
        (postgres("08006"), Kind.TRANSIENT),  # connection
        (postgres("57P01"), Kind.TRANSIENT),  # shutdown
        (postgres("57P02"), Kind.TRANSIENT),  # crash
        (postgres("57P03"), Kind.TRANSIENT),  # cannot connect now
        (postgres("53300"), Kind.TRANSIENT),  # too many connections
        (postgres("25006"), Kind.TRANSIENT),  # read-only after a failover
        (postgres("53100"), Kind.TRANSIENT),  # disk full
        (postgres("25P03"), Kind.TRANSIENT),  # idle in transaction for too long
        (asyncpg.InterfaceError("closed"), Kind.TRANSIENT),
        (asyncpg.InternalClientError("protocol"), Kind.TRANSIENT),
        (asyncpg.InvalidCachedStatementError("migrated under us"), Kind.TRANSIENT),
        (ConnectionRefusedError(), Kind.TRANSIENT),
        (TimeoutError(), Kind.TRANSIENT),
        (Unsettled(), Kind.TRANSIENT),
        (Overtaken(), Kind.TRANSIENT),
        (postgres("53200"), Kind.TOO_LARGE),  # the lock table is full
        (postgres("57014"), Kind.TOO_LARGE),  # statement_timeout
        (BatchTooLarge(2, 1), Kind.TOO_LARGE),
        (postgres("22021"), Kind.POISON),  # a character that is none
        (postgres("23505"), Kind.POISON),  # unique
        (postgres("54000"), Kind.POISON),  # an index entry too long
        (postgres("P0001"), Kind.POISON),  # raised by a trigger
        (asyncpg.exceptions._base.DataError("no int8"), Kind.POISON),
        (KeyError("x"), Kind.POISON),
        (AssertionError(), Kind.POISON),
        (RecursionError(), Kind.POISON),
        (postgres("28P01"), Kind.FATAL),  # password
        (postgres("42P01"), Kind.FATAL),  # no such table
        (postgres("42501"), Kind.FATAL),  # not allowed
        (postgres("XX000"), Kind.FATAL),
        (asyncpg.ClientConfigurationError("url"), Kind.FATAL),
        (MemoryError(), Kind.FATAL),
        (SetupError("do this"), Kind.FATAL),
        (asyncio.CancelledError(), Kind.FATAL),
    ],
    ids=lambda value: value.name if isinstance(value, Kind) else describe(value),
)
def test_every_failure_has_one_meaning(error, kind):
    assert kind_of(error) is kind


def test_a_failure_is_described_without_values():
    assert describe(postgres("23505")) == "UniqueViolationError 23505"
    assert describe(KeyError("secret@example.com")) == "KeyError"


class Failing(Gate):
    """Raises in front of a statement, as often as told."""

    def __init__(self, name, *errors):
        super().__init__()
        self._name, self._errors = name, list(errors)

    async def __call__(self, name):
        await super().__call__(name)
        if name == self._name and self._errors:
            raise self._errors.pop(0)


@pytest.mark.parametrize("station", ["discover", "lock", "read", "ledger_insert", "commit"])
async def test_what_is_transient_is_tried_again(new_store, desk, sql, station):
    await desk.register(1)
    failing = Failing(station, postgres("40P01"), ConnectionResetError(), Overtaken("so"))
    answers = await Desk(await new_store(failing), desk.log).persist(desk.log.update(1, add=line("x")))
    assert kinds(answers) == ["applied"]
    assert failing.passed.count("commit") == (4 if station == "commit" else 1)
    assert await sound(sql)


async def test_a_commit_whose_answer_is_lost_is_found_in_the_ledger(desk, sql, monkeypatch):
    """The transaction went through, its answer did not: the next attempt says the same, and nothing is done twice."""
    await desk.register(1)
    execute = asyncpg.Connection.execute

    async def lose_the_answer(connection, text, *arguments, **options):
        tag = await execute(connection, text, *arguments, **options)
        if text == "commit":
            monkeypatch.undo()
            raise ConnectionResetError
        return tag

    monkeypatch.setattr(asyncpg.Connection, "execute", lose_the_answer)
    message = desk.log.update(1, add=line("x"))
    (answer,) = await desk.persist(message)
    assert answer.kind == "answered"
    stored = await sql.fetch("select outgoing from ledger where request_id = $1", message.origin.request_id)
    assert [unpack(row["outgoing"]) for row in stored] == [answer.outgoing]
    assert await sql.fetchval("select version from customer") == 2


async def test_what_stays_transient_is_raised_in_the_end(new_store):
    retries = default_retries(attempts_max=3, seconds_max=20.0, wait_ms_base=1.0, wait_ms_max=1.0)
    failing = Failing("begin", *(ConnectionResetError() for _ in range(9)))
    desk = Desk(await new_store(failing, retries=retries))
    with pytest.raises(ConnectionResetError):
        await desk.persist(desk.log.customer(1))
    assert failing.passed.count("begin") == 3


async def test_what_is_fatal_is_raised_at_once(new_store):
    failing = Failing("begin", postgres("42501"))
    desk = Desk(await new_store(failing))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await desk.persist(desk.log.customer(1), desk.log.customer(2))
    assert failing.passed == ["catalogs_newest", "begin"]


async def test_a_server_that_is_not_there_is_transient():
    pool = asyncpg.create_pool("postgresql://nobody@127.0.0.1:1/none", min_size=0, max_size=1)
    retries = default_retries(attempts_max=2, wait_ms_base=1.0, wait_ms_max=1.0)
    async with pool:
        desk = Desk(Store(pool, default_options(retries=retries)))
        with pytest.raises(OSError, match="Connect call failed"):
            await desk.persist(desk.log.customer(1))


async def test_a_server_that_says_nothing_is_given_up_without_a_last_word(shared_database_url, desk, sql):
    """A rollback would wait as long again; the connection is dropped instead, and the next attempt has another."""
    await desk.register(1)
    pool = asyncpg.create_pool(shared_database_url, min_size=0, max_size=1, command_timeout=0.3)
    async with pool, sql.transaction():
        await sql.execute(SQL["lock_one"], lock_key(f"customer:{ORG}:1"))
        silent = Desk(Store(pool, default_options()), desk.log)
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            await silent.apply(desk.log.update(1, add=line("x")))
        assert time.monotonic() - started < 3
        assert pool.get_size() == 0


# ---------------------------------------------------------------- halving


async def test_a_batch_with_too_many_locks_is_halved_in_order(new_store, sql):
    gate = Gate()
    desk = Desk(await new_store(gate, lock_keys_max=20))
    messages = [desk.log.customer(number, f"of-{number}") for number in range(1, 17)]
    # The last ones merge into the first, so the order shows.
    messages += [meets(desk, number, number + 1) for number in range(1, 16)]
    answers = await desk.persist(*messages, progress={AT: Progress(5)})
    assert [answer.message for answer in answers] == messages
    assert set(kinds(answers)) == {"applied"}
    assert gate.passed.count("commit") > 4
    owner = await sql.fetchrow("select published_offset, answered_offset from partition_owner")
    assert tuple(owner) == (5, messages[-1].at.offset + 1)
    assert await sql.fetchval("select count(*) from customer where survivor_id = 16") == 15
    assert await sound(sql)


async def test_a_half_is_not_stored_where_the_one_before_it_was_forgotten(new_store, sql):
    parts = 0

    async def forgets(name):
        nonlocal parts
        parts += name == "ledger_insert"
        if name == "begin" and parts == 1:
            await sql.execute("delete from ledger")
            await sql.execute("update partition_owner set answered_offset = 0")

    desk = Desk(await new_store(forgets, lock_keys_max=20))
    async with claim(desk.store, [Place(*AT)]) as claimed:
        await claimed.write(None, {Place(*AT): 0})
    messages = [desk.log.customer(number, f"of-{number}") for number in range(1, 17)]
    with pytest.raises(Forgotten):
        await desk.persist(*messages, progress={AT: Progress(0, 0)})
    assert await sql.fetchval("select count(*) from ledger") == 0


async def test_a_full_lock_table_halves_the_batch(new_store, sql):
    failing = Failing("lock", postgres("53200"), postgres("53200"))
    desk = Desk(await new_store(failing))
    assert set(kinds(await desk.persist(*(desk.log.customer(number) for number in range(1, 9))))) == {"applied"}
    assert failing.passed.count("commit") == 3  # a quarter, a quarter, a half


async def test_a_full_lock_table_and_one_message_left_is_waited_out(new_store):
    failing = Failing("lock", postgres("53200"), postgres("53200"))
    desk = Desk(await new_store(failing))
    assert kinds(await desk.persist(desk.log.customer(1))) == ["applied"]


@pytest.mark.parametrize(
    ("large", "commits"),
    [
        pytest.param((1, 3), 2, id="victims that are too large to be read together are read apart"),
        pytest.param((2, 4), 1, id="what survivors hold is not read"),
    ],
)
async def test_what_merges_read_is_bounded(new_store, sql, large, commits):
    gate = Gate()
    desk = Desk(await new_store(gate, held_rows_max=30))
    await desk.register(1, 2, 3, 4)
    for number in large:
        await desk.apply(desk.log.update(number, add=[line(f"{number}-{value}") for value in range(20)]))
    gate.passed.clear()
    assert kinds(await desk.persist(meets(desk, 1, 2), meets(desk, 3, 4))) == ["applied", "applied"]
    assert gate.passed.count("commit") == commits
    assert await sound(sql)


async def test_the_answers_of_a_part_are_had_once_it_is_committed_and_no_others_with_them(new_store, sql):
    desk = Desk(await new_store(held_rows_max=30))
    await desk.register(1, 2, 3, 4)
    for number in (1, 3):
        await desk.apply(desk.log.update(number, add=[line(f"{number}-{value}") for value in range(20)]))
    merged = []
    async for answers in apply_with_retries(desk.store, [meets(desk, 1, 2), meets(desk, 3, 4)]):
        assert kinds(answers) == ["applied"]
        merged.append(await sql.fetchval("select count(*) from merge"))
    assert merged == [1, 2]


async def test_what_was_answered_before_is_read_back_in_parts_too(desk, monkeypatch):
    messages = [desk.log.customer(number) for number in range(1, 5)]
    first = await desk.apply(*messages)
    horizons = {Place(*AT): messages[-1].at.offset}
    monkeypatch.setattr(answered, "ANSWERED_BYTES_MAX", 1)
    parts = [part async for part in apply_with_retries(desk.store, messages, horizons=horizons)]
    assert [kinds(part) for part in parts] == [["answered"]] * 4
    assert [answer.outgoing for part in parts for answer in part] == [answer.outgoing for answer in first]


# ---------------------------------------------------------------- poison


@pytest.fixture
async def cursed(sql):
    """A customer whose row nothing may touch: a constraint that no request can know of."""
    await sql.execute(
        "create function curse() returns trigger language plpgsql as"
        " $$ begin raise exception 'customer % is cursed', new.customer_id; end $$;"
        "create trigger curse before update on customer for each row"
        " when (new.customer_id = 13) execute function curse()"
    )
    yield 13
    await sql.execute("drop trigger curse on customer; drop function curse()")


async def test_the_one_message_that_fails_becomes_a_dead_letter_and_the_others_are_answered_in_order(desk, sql, cursed):
    await desk.register(*range(1, 21))
    messages = [desk.log.update(number, add=line(f"x-{number}"), requestId=f"r-{number}") for number in range(1, 21)]
    messages += [desk.log.update(14, remove=line("x-14"))]
    answers = await desk.persist(*messages, progress={AT: Progress(5)})
    assert [answer.message for answer in answers] == messages
    assert kinds(answers) == ["applied"] * 12 + ["dead_letter"] + ["applied"] * 8
    (record,) = answers[12].outgoing
    assert record.topic == "identifier-updates-dlt"
    assert (record.key, record.value) == (messages[12].key, messages[12].value)
    said = header(record, "kafka_dlt-exception-message").decode()
    assert said == "PROCESSING_FAILED: RaiseError P0001"
    row = await sql.fetchrow("select org_id, kind, status, detail from ledger where request_id = 'r-13'")
    assert tuple(row) == (ORG, "dead_letter", "PROCESSING_FAILED", "RaiseError P0001")
    assert await sql.fetchval("select published_offset from partition_owner where topic = $1", AT[0]) == 5
    assert await sound(sql)


async def test_a_dead_letter_of_poison_is_published_again_as_it_was(desk, cursed):
    await desk.register(cursed, 1)
    message = desk.log.update(cursed, add=line("x"))
    (letter,) = await desk.persist(message)
    assert letter.kind == "dead_letter"
    (again,) = await desk.apply(message, horizons={AT: message.at.offset})
    assert again.outgoing == letter.outgoing


async def test_a_batch_that_takes_too_long_is_halved_until_it_does_not(new_store):
    """Whole it would be tried until the worker ends, and begun again by the next."""

    class Slow(Gate):
        async def __call__(self, name):
            await super().__call__(name)
            if name == "ledger_insert" and sum(1 for passed in self.passed if passed == "begin") <= 2:
                raise postgres("57014")

    slow = Slow()
    desk = Desk(await new_store(slow, retries=default_retries(attempts_max=1)))
    messages = [desk.log.customer(number) for number in range(1, 9)]
    answers = await desk.persist(*messages)
    assert ([answer.message for answer in answers], set(kinds(answers))) == (messages, {"applied"})
    assert slow.passed.count("begin") == 2 + 3  # eight, four; two, two, four


async def test_poison_is_tried_once_more_before_the_batch_is_taken_apart(new_store):
    failing = Failing("ledger_insert", postgres("23505"))
    desk = Desk(await new_store(failing))
    assert set(kinds(await desk.persist(desk.log.customer(1), desk.log.customer(2)))) == {"applied"}
    assert failing.passed.count("begin") == 2


@pytest.mark.parametrize("step", ["decode_all", "prepare", "judge_batch", "answer_batch"])
async def test_a_mistake_of_ours_in_one_message_is_its_alone(desk, monkeypatch, step):
    await desk.register(1, 2, 3)
    target = f"mergeline.store.apply.{step}"
    right = getattr(__import__("mergeline.store.apply", fromlist=[step]), step)

    def mistaken(*arguments):
        if "trap" in repr(arguments) and "PROCESSING_FAILED" not in repr(arguments):
            raise ZeroDivisionError("trap@example.com")
        return right(*arguments)

    monkeypatch.setattr(target, mistaken)
    messages = [
        desk.log.update(1, add=line("a")),
        desk.log.update(2, add=line("trap"), requestId="mine"),
        desk.log.update(3, add=line("c")),
    ]
    answers = await desk.persist(*messages)
    assert kinds(answers) == ["applied", "dead_letter", "applied"]
    assert answers[1].row.detail == "ZeroDivisionError"
    # Where it cannot even be decoded, it goes by the id of its place.
    found = answers[1].row.org_id, answers[1].row.request_id
    assert found == ((0, messages[1].origin.request_id) if step == "decode_all" else (ORG, "mine"))


async def test_what_not_even_a_dead_letter_mends_is_raised(new_store):
    failing = Failing("ledger_insert", *(postgres("23505") for _ in range(20)))
    desk = Desk(await new_store(failing))
    with pytest.raises(asyncpg.UniqueViolationError):
        await desk.persist(desk.log.customer(1), desk.log.customer(2))


async def test_the_longest_texts_that_a_request_may_hold_fit(desk, sql):
    """Value and account of 255 characters of four bytes, which no compression makes shorter."""
    letters = "".join(chr(0x1F300 + (number * 7919) % 700) for number in range(255))
    other = letters[::-1]
    await desk.register(1)
    (answer,) = await desk.persist(desk.log.update(1, source="WECHAT", accountId=other, add=line(letters)))
    assert answer.kind == "applied"
    stored = await sql.fetchrow("select value, account from identifier where account <> ''")
    assert tuple(stored) == (letters, other)
