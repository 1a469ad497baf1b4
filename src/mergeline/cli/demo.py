"""`mergeline demo`: real requests through a real worker, told as they happen.

In: nothing, or a folder to keep the data in. Out: the story of `demo_story`, held to what it says must come of each
step; what `verify` finds; where to look next. Never: a process left behind, however it ends.
"""

import asyncio
import contextlib
import shutil
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import click
import orjson
from aiokafka import ConsumerRecord
from rich.console import Console
from rich.text import Text

from mergeline import logs
from mergeline.cli import demo_told as told
from mergeline.cli.demo_scene import Scene
from mergeline.cli.demo_story import FIRST_ORG_ID, MEI, Step, catalog, chapters
from mergeline.cli.ending import end_in_order
from mergeline.cli.kafka import Placed, Reader, Sender, reading, sending
from mergeline.cli.output import console, lay_out, table
from mergeline.cli.verifying import find, picture
from mergeline.cli.watching import TOPICS
from mergeline.database import connected
from mergeline.domain.catalog import Catalog
from mergeline.domain.events import DUPLICATE
from mergeline.domain.messages import ORIGINAL_OFFSET, REASON, Coordinate
from mergeline.domain.routing import routing_key
from mergeline.domain.vocabulary import INPUT_TOPICS, OUTCOME_TOPICS, Topic, is_dead_letter_topic
from mergeline.store.catalogs import apply_catalogs, newest_catalog
from mergeline.store.showing import show_customer

STEP_TIMEOUT_S: Final = 60.0
"""For all that one step publishes; the first one waits for the worker's start."""
POLL_MS: Final = 200
SILENCE_POLLS: Final = 3
"""Without a record, at the end: nothing was published that the story does not tell."""
KEEP_POLL_S: Final = 0.5
OFFENDERS_SHOWN_MAX: Final = 5
ORGS_MAX: Final = 10_000
"""Stories that one folder can be told."""


class NotAsToldError(Exception):
    """Something came of a step that the story does not say."""


@click.command(short_help="Real requests, a real Kafka and PostgreSQL, told as they happen.")
@click.option("--keep", is_flag=True, help="Leave everything running until Ctrl-C, to try requests of your own.")
@click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), help="Keep the data in this folder.")
def demo(data_dir: Path | None, *, keep: bool) -> None:
    """Show what mergeline does: real requests, a real Kafka and PostgreSQL, started and stopped here.

    Tells a short story, request by request, with the outcome and the events of each, and checks that it went as
    told (exit status 1 if not). Needs mergeline[demo]; the first time, Kafka is fetched (44 MB).

    \b
    Example:
      mergeline demo
      mergeline demo --keep
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    logs.silence()
    end_in_order()
    out = console()
    began = time.monotonic()
    out.print("Starting Kafka and PostgreSQL on this machine ...", style="dim")
    with Scene(data_dir, lambda line: out.print(line, style="dim")) as scene:
        scene.prepare()
        scene.start_worker()
        out.print(f"Kafka, PostgreSQL and a worker are up after {time.monotonic() - began:.1f} s.", style="dim")
        org_id = asyncio.run(_Telling(scene, out).tell())
        if keep:
            _go_on(out, org_id, scene)
            with contextlib.suppress(KeyboardInterrupt):
                _wait(scene)
        else:
            _next(out)
        out.print("Stopping everything ...", style="dim")
    out.print(f"Done in {time.monotonic() - began:.1f} s; nothing is left running.", style="dim")


class _Telling:
    """The story, told once."""

    def __init__(self, scene: Scene, out: Console) -> None:
        self.scene, self.out = scene, out
        self.settings = scene.settings
        self.prefix = self.settings.topic_prefix

    async def tell(self) -> int:
        """All chapters, then the invariants; the org it was about."""
        try:
            org_id = await self._apply_catalog()
            async with AsyncExitStack() as stack:
                reader = await stack.enter_async_context(reading(self.settings, TOPICS))
                senders = {
                    topic: await stack.enter_async_context(sending(self.settings, topic)) for topic in INPUT_TOPICS
                }
                for chapter in chapters(org_id):
                    self.out.print(Text(f"\n{chapter.heading}\n", "bold underline"))
                    for step in chapter.steps:
                        await self._step(org_id, step, senders[step.topic], reader)
                await self._nothing_else(reader)
            await self._verify()
        except NotAsToldError as error:
            self.scene.check_worker()
            raise click.ClickException(f"not as told: {error}") from None
        return org_id

    async def _apply_catalog(self) -> int:
        """Give the brand its catalog, under an org that the database does not know yet."""
        async with connected(self.settings) as connection:
            for org_id in range(FIRST_ORG_ID, FIRST_ORG_ID + ORGS_MAX):
                if await newest_catalog(connection, org_id) is None:
                    await apply_catalogs(connection, [Catalog.model_validate(catalog(org_id))])
                    sources = ", ".join(catalog(org_id)["sources"])
                    self.out.print(Text(f"\nOrg {org_id} has a catalog: sources {sources}; card series GOLD."))
                    return org_id
        raise NotAsToldError(f"the folder was told the story {ORGS_MAX} times; take another")

    async def _step(self, org_id: int, step: Step, sender: Sender[None], reader: Reader) -> None:
        key = routing_key(step.topic, 0, step.body)
        await sender.put(key, step.body, None)
        (placed,) = await sender.settle()
        records = await self._records(step, placed, reader)
        lay_out(self.out, told.told(step.title, step.body, records, self.prefix))
        self._check(step, records)
        if step.pictured:
            await self._picture(org_id, records)

    async def _records(self, step: Step, placed: Placed[None], reader: Reader) -> list[ConsumerRecord]:
        """Everything that is published for a step, once all of it is there."""
        wanted, found = step.records, list[ConsumerRecord]()
        deadline = time.monotonic() + STEP_TIMEOUT_S
        while wanted - self._topics(found):
            if time.monotonic() > deadline:
                missing = ", ".join(wanted - self._topics(found))
                raise NotAsToldError(f"nothing on {missing} after {STEP_TIMEOUT_S:.0f} s for: {step.title}")
            self.scene.check_worker()
            found += await reader.poll(POLL_MS)
        for record in found:
            if not self._belongs(record, step, placed):
                raise NotAsToldError(f"a record on {record.topic} that belongs to another step than: {step.title}")
        return found

    def _topics(self, records: list[ConsumerRecord]) -> Counter[str]:
        return Counter(record.topic.removeprefix(self.prefix) for record in records)

    def _belongs(self, record: ConsumerRecord, step: Step, placed: Placed[None]) -> bool:
        place = Coordinate(step.topic, placed.partition, placed.offset)
        if is_dead_letter_topic(record.topic):
            return dict(record.headers).get(ORIGINAL_OFFSET) == b"%d" % place.offset
        own = orjson.loads(step.body).get("requestId")
        return bool(orjson.loads(record.value)["requestId"] == (own or place.request_id))

    def _check(self, step: Step, records: list[ConsumerRecord]) -> None:
        """Whether it went as told."""
        if self._topics(records) != step.records:
            raise NotAsToldError(f"{dict(self._topics(records))} published for: {step.title}")
        for record in records:
            if is_dead_letter_topic(record.topic):
                reason = dict(record.headers).get(REASON, b"").decode()
                status, codes = "dead letter", (reason.partition(":")[0],)
            elif record.topic.removeprefix(self.prefix) in OUTCOME_TOPICS.values():
                data = orjson.loads(record.value)
                status, codes = data["status"], tuple(one["code"] for one in data["errors"] + data["warnings"])
            else:
                continue
            duplicate = DUPLICATE in record.headers
            if (status, codes, duplicate) != (step.status, step.codes, step.duplicate):
                raise NotAsToldError(f"{status} {' '.join(codes)} is the answer to: {step.title}")

    async def _picture(self, org_id: int, records: list[ConsumerRecord]) -> None:
        merged = told.data_of(records, Topic.CUSTOMER_MERGED, self.prefix)
        changed = told.data_of(records, Topic.IDENTIFIERS_CHANGED, self.prefix)
        added = [item | {name: changed[name] for name in ("source", "accountId")} for item in changed["added"]]
        async with connected(self.settings) as connection:
            survivor = await show_customer(connection, org_id, merged["survivorId"])
        if survivor is None:
            raise NotAsToldError(f"customer {merged['survivorId']} is not stored")
        lay_out(self.out, told.merge_picture(merged, added, survivor, ascii_only=self.out.options.ascii_only))

    async def _nothing_else(self, reader: Reader) -> None:
        for _ in range(SILENCE_POLLS):
            for record in await reader.poll(POLL_MS):
                raise NotAsToldError(f"one more record on {record.topic}")

    async def _verify(self) -> None:
        self.out.print(Text("\nWhat must always hold (mergeline verify)\n", "bold underline"))
        async with connected(self.settings) as connection:
            findings = await find(connection, OFFENDERS_SHOWN_MAX)
        lay_out(self.out, picture(findings))
        if not findings.holds:
            raise NotAsToldError("an invariant does not hold")


def _next(out: Console) -> None:
    """Where to look next."""
    out.print(Text("\nWhere to look next\n", "bold underline"))
    rows = table("", "")
    rows.show_header = False
    rows.add_row("mergeline demo --keep", "the same, left running: send requests of your own")
    rows.add_row("mergeline --help", "what else there is")
    rows.add_row("README.md", "a first request, topics, settings, your own Kafka and PostgreSQL")
    rows.add_row("schemas/README.md", "every message, every answer")
    lay_out(out, rows)


def _go_on(out: Console, org_id: int, scene: Scene) -> None:
    """How to go on in a second terminal, while everything runs here."""
    out.print(Text("\nEverything is running until Ctrl-C. In a second terminal:\n", "bold underline"))
    for name, value in scene.settings.as_environ().items():
        if name != "MERGELINE_HTTP_PORT":
            out.print(f"export {name}={value}", soft_wrap=True)
    request = {"orgId": org_id, "customerId": MEI, "source": "INSTORE", "add": {"type": "line", "value": "mei.lin"}}
    out.print()
    command = "mergeline" if shutil.which("mergeline") else f"{sys.executable} -m mergeline"
    for line in (
        f"echo '{orjson.dumps(request).decode()}' | {command} send --wait -",
        f"{command} watch --from-beginning",
        f"{command} show customer {org_id} {MEI}",
        f"{command} verify",
    ):
        out.print(line, soft_wrap=True)
    out.print(f"\nThe worker's log: {scene.worker_log}", style="dim", soft_wrap=True)


def _wait(scene: Scene) -> None:
    """Until Ctrl-C, or until the worker ends by itself."""
    while True:
        scene.check_worker()
        time.sleep(KEEP_POLL_S)
