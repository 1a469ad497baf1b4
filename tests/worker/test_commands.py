"""The commands against a real worker: import, send, watch, show, verify, topics (SPEC sections 7 and 8)."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from tests.worker.harness import CARDS
from tests.worker.process import IMPORTED_FROM

from mergeline.cli.files import LINE_MAX_BYTES

SCHEMAS = Path(__file__).parents[2] / "schemas"
ORG = 100801
CATALOG = {
    "orgId": ORG,
    "defaultRegion": "CN",
    "sources": {"INSTORE": "single", "WECHAT": "multiple"},
    "series": [{"id": 7, "code": "GOLD"}],
}


@pytest.fixture(scope="module")
async def shop(served):
    """The shared world, with an org of this module's own."""
    await served.apply_catalog(CATALOG)
    return served


@pytest.fixture
def file(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else "".join(json.dumps(one) + "\n" for one in content))
        return path

    return write


async def imported(shop, kind, path, *options, status=0):
    """What `import` counted (standard output is lost where the status is not 0, so it is asked for in the file)."""
    out = await shop.command("import", kind, str(path), "--json", *options, status=status)
    return json.loads(out) if status == 0 else out


def customer(customer_id, *identifiers, source="INSTORE", **more):
    named = [{"type": kind, "value": value} for kind, value in identifiers]
    return {"orgId": ORG, "customerId": customer_id, "source": source, "identifiers": named, **more}


async def shown(shop, *words):
    document = json.loads(await shop.command("show", *words, "--json"))
    schema = json.loads((SCHEMAS / "show" / f"{words[0]}.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(document)
    return document


# ---------------------------------------------------------------- import


async def test_a_file_of_customers_is_imported_and_again_it_changes_nothing(shop, file):
    path = file("c.jsonl", [customer(number, ("email", f"c{number}@example.com")) for number in range(1, 201)])
    first, second = await imported(shop, "customers", path), await imported(shop, "customers", path)
    assert (first["sent"], first["applied"], first["unchanged"], first["rejected"]) == (200, 200, 0, 0)
    assert (second["sent"], second["applied"], second["unchanged"], second["rejected"]) == (200, 0, 200, 0)
    assert not path.with_name("c.jsonl.rejects").exists()


async def test_bad_and_rejected_lines_are_written_down_and_the_rest_goes_in(shop, file):
    rows = [
        "orgId,customerId,source,accountId,type,value",
        f"{ORG},301,INSTORE,,mobile,138 0013 8301",
        f"{ORG},301,INSTORE,,email,c301@example.com",
        f"{ORG},302,INSTORE,,mobile,138 0013 8301",
        f"{ORG},x,INSTORE,,email,c303@example.com",
        f"{ORG},304,NOWHERE,,email,c304@example.com",
        f"{ORG},305,WECHAT,brand-a,wechat,c305",
    ]
    path = file("c.csv", "\n".join(rows))
    said = await imported(shop, "customers", path, status=1)
    rejects = path.with_name("c.csv.rejects")
    lines = rejects.read_text().splitlines()
    assert lines[0] == rows[0]
    assert sorted(line for line in lines[1:] if not line.startswith("#")) == sorted([rows[3], rows[4], rows[5]])
    for reason in (
        "line 4: IDENTIFIER_TAKEN at /identifiers/0",
        "line 5: customerId: not a whole number",
        "line 6: UNKNOWN_SOURCE at /source",
    ):
        assert any(line.startswith(f"# {reason}") for line in lines), reason
        assert reason in said
    assert (await shown(shop, "customer", str(ORG), "305"))["identifiers"]
    # Corrected, the rejects can be imported.
    corrected = "\n".join(lines).replace(",x,", ",303,").replace("NOWHERE", "INSTORE").replace("8301", "8302")
    rejects.write_text(corrected)
    assert (await imported(shop, "customers", rejects))["applied"] == 3


async def test_rejects_go_where_they_are_wanted(shop, file, tmp_path):
    path, elsewhere = file("c.jsonl", '{"orgId":'), tmp_path / "elsewhere"
    await imported(shop, "customers", path, "--rejects", str(elsewhere), status=1)
    assert elsewhere.read_text().startswith("# line 1: ")
    assert not path.with_name("c.jsonl.rejects").exists()


async def test_rejects_do_not_take_the_place_of_what_is_imported_or_of_what_is_no_file(shop, file, tmp_path):
    path, nowhere = file("c.jsonl", '{"orgId":'), tmp_path / "nowhere"
    nowhere.symlink_to("/dev/null")
    await shop.command("import", "customers", str(path), "--rejects", str(path), status=2)
    assert path.read_text() == '{"orgId":'
    for content, status in (('{"orgId":', 1), ([customer(1)], 0)):
        await imported(shop, "customers", file("d.jsonl", content), "--rejects", str(nowhere), status=status)
        assert nowhere.is_symlink()


async def test_cards_are_imported(shop, file):
    cards = [{"orgId": ORG, "cardNumber": f"I{number}", "seriesCode": "GOLD"} for number in range(50)]
    counts = await imported(shop, "cards", file("cards.jsonl", cards))
    assert counts["applied"] == 50
    assert (await shown(shop, "card", str(ORG), "I49"))["status"] == "NOT_ISSUED"


async def test_without_waiting_registrations_are_only_sent(shop, file):
    path = file("n.jsonl", [customer(401)])
    counts = await imported(shop, "customers", path, "--no-wait")
    assert (counts["sent"], counts["applied"], counts["unanswered"]) == (1, 0, 0)


async def test_a_request_id_of_ones_own_is_kept(shop, file):
    await imported(shop, "customers", file("own.jsonl", [customer(402, requestId="own-402")]))
    assert (await shown(shop, "request", str(ORG), "own-402"))["kind"] == "customer-registration"


async def test_without_a_worker_it_says_so_and_gives_up_in_time(module_world, tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps(customer(1)))
    said = await module_world.command("import", "customers", str(path), "--timeout", "4", status=1)
    assert "start one with: mergeline worker" in said
    assert "1 were not answered in time" in said


# ---------------------------------------------------------------- send, watch


async def test_send_says_what_became_of_each_line(shop, file):
    await imported(shop, "customers", file("s.jsonl", [customer(501), customer(502)]))
    update = {"orgId": ORG, "customerId": 501, "source": "INSTORE", "add": {"type": "line", "value": "l501"}}
    lines = [json.dumps(update), "nope", json.dumps(update | {"customerId": 502}), json.dumps(update | {"orgId": 9})]
    out = await shop.command("send", "--wait", str(file("r.jsonl", "\n".join(lines))), status=1)
    assert "4 sent" in out
    for part in ("1 applied", "1 dead letter", "2 rejected", "1 of them without a key"):
        assert part in out


async def test_a_line_as_long_as_a_topic_takes_is_sent_and_a_longer_one_is_left_out(shop, file):
    """The longest key there is goes with it: that of a card."""
    card = {"orgId": ORG, "seriesId": 7, "cardNumber": "\U0001f0a1" * 255, "more": ""}
    room = LINE_MAX_BYTES - 1 - len(json.dumps(card, ensure_ascii=False).encode())
    lines = [json.dumps(card | {"more": "x" * size}, ensure_ascii=False) for size in (room, room + 1)]
    path = file("long.jsonl", "\n".join([*lines, json.dumps({"orgId": ORG, "cardNumber": "L1", "seriesId": 7})]))
    said = await shop.command("send", "--topic", "card-registrations", "--wait", str(path), status=1)
    assert "line 2 is longer than the topic takes" in said
    assert "2 sent" in said
    assert "1 applied" in said
    assert "1 dead letter" in said


@pytest.mark.parametrize("options", [(), ("--wait",)], ids=["sent", "and waited for"])
async def test_lines_that_come_one_by_one_go_out_as_they_come(shop, options):
    """A pipe that stays open: whoever writes may wait for the answer before the next line."""
    command = [sys.executable, "-m", "mergeline", "send", "--json", *options, "-"]
    environment = os.environ | shop.settings | {"PYTHONPATH": IMPORTED_FROM}
    sending = await asyncio.create_subprocess_exec(
        *command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    names = [f"piped-{len(options)}-{number}" for number in range(3)]
    for name in names:
        update = {"requestId": name, "orgId": ORG, "customerId": 1, "source": "INSTORE"}
        sending.stdin.write(json.dumps(update | {"add": {"type": "line", "value": name}}).encode() + b"\n")
        await shop.answered([name])
        if options:
            said = json.loads(await asyncio.wait_for(sending.stdout.readline(), 10))
            assert said["answer"]["requestId"] == name
    sending.send_signal(signal.SIGINT)
    _, errors = await asyncio.wait_for(sending.communicate(), 10)
    assert (sending.returncode, errors) == (130, b"mergeline: interrupted\n")


async def test_send_keys_by_customer_in_the_order_of_the_file(shop, file):
    updates = [
        {
            "orgId": ORG,
            "customerId": 600 + number % 7,
            "source": "INSTORE",
            "add": {"type": "cuid", "value": str(number)},
        }
        for number in range(700)
    ]
    out = await shop.command("send", str(file("k.jsonl", updates)), "--json")
    assert json.loads(out) == {"sent": 700, "withoutKey": 0, "tooLong": 0}
    outcomes = await shop.command("watch", "--from-beginning", "--topic", "update-outcomes", "--timeout", "8", "--json")
    seen = [json.loads(line)["data"] for line in outcomes.splitlines()]
    for customer_id in range(600, 607):
        mine = [
            one["requestId"].rsplit("-", 2) for one in seen if (one["orgId"], one["customerId"]) == (ORG, customer_id)
        ]
        assert len(mine) == 100
        assert len({partition for _, partition, _ in mine}) == 1
        offsets = [int(offset) for *_, offset in mine]
        assert offsets == sorted(offsets)


async def test_watch_prints_what_comes_from_now_on(shop, file):
    await imported(shop, "customers", file("w.jsonl", [customer(701)]))
    # A process of its own: two commands in one would share their standard output.
    watching = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mergeline", "watch", "--timeout", "60", "--topic", "update-outcomes"),
        env=os.environ | shop.settings,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell ignores it for what is in background
    )
    update = {"orgId": ORG, "customerId": 701, "source": "INSTORE", "add": {"type": "line", "value": "l701"}}
    seen = []
    for number in range(100):  # until the first one that comes after it has begun to watch
        await shop.outcomes_of([update | {"requestId": f"w-{number}"}])
        with contextlib.suppress(TimeoutError):
            seen.append((await asyncio.wait_for(watching.stdout.readline(), 0.5)).decode())
            break
    watching.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(watching.wait(), 30) == 0
    assert seen[0].split()[:2] == ["applied" if number == 0 else "unchanged", f"{ORG}:701"]


async def test_watch_shows_dead_letters_byte_for_byte_or_nearly(shop):
    await shop.produce(CARDS, [b"\xff{"], key=b"k")
    letters = await shop.letters(1, CARDS, lambda record: record.key == b"k")
    count = str(len(shop.records["card-registrations-dlt"]))  # the world has others
    out = await shop.command(
        *(
            "watch",
            "--from-beginning",
            "--topic",
            "card-registrations-dlt",
            "--limit",
            count,
            "--timeout",
            "30",
            "--json",
        )
    )
    documents = [json.loads(line) for line in out.splitlines()]
    (document,) = [document for document in documents if document["key"] == "k"]
    assert (len(letters), document["data"]) == (1, None)
    assert document["headers"]["kafka_dlt-exception-message"].startswith("MALFORMED_JSON")


# ---------------------------------------------------------------- show, verify


async def test_everything_stored_is_shown_in_the_shape_of_its_schema(shop, file):
    await imported(shop, "cards", file("x.jsonl", [{"orgId": ORG, "cardNumber": "S1", "seriesId": 7}]))
    await imported(
        shop,
        "customers",
        file("y.jsonl", [customer(801, ("mobile", "138 0013 8801")), customer(802, source="WECHAT", accountId="a")]),
    )
    link = {"orgId": ORG, "customerId": 802, "source": "WECHAT", "accountId": "a", "requestId": "link-802"}
    card = {"type": "cardnumber", "value": "S1", "seriesId": 7, "statusLabel": "ACTIVE"}
    out = await shop.outcomes_of([link | {"add": [{"type": "mobile", "value": "13800138801"}, card]}])
    assert out[0]["mergedInto"] == 801
    assert (await shown(shop, "customer", str(ORG), "801"))["victims"] == [802]
    assert (await shown(shop, "customer", str(ORG), "802"))["status"] == "merged"
    assert (await shown(shop, "card", str(ORG), "S1"))["customerId"] == 801
    assert len((await shown(shop, "request", str(ORG), "link-802"))["events"]) == 5
    for spelling in ("138-0013-8801", "+86 138 0013 8801", "8613800138801"):
        found = await shown(shop, "identifier", str(ORG), "mobile", spelling)
        assert [entry["source"] for entry in found["entries"]] == ["INSTORE", "WECHAT"]
    for words in (
        ("customer", "801"),
        ("card", "S1"),
        ("request", "link-802"),
        ("identifier", "mobile", "13800138801"),
    ):
        assert await shop.command("show", words[0], str(ORG), *words[1:])


@pytest.mark.parametrize(
    "words", [("customer", "99999"), ("card", "none"), ("request", "none"), ("identifier", "email", "no@example.com")]
)
async def test_what_is_not_there_is_exit_status_one(shop, words):
    said = await shop.command("show", words[0], str(ORG), *words[1:], status=1)
    assert "is not there" in said


async def test_verify_finds_nothing_and_then_what_somebody_broke(world):
    assert "Looked at" in await world.command("verify")
    await world.sql("insert into identifier values (1, 'email', 'canary@example.com', 'A', '', 77)")
    found = await world.document("verify", status=1)
    assert found["holds"] is False
    assert "canary" not in str(found)
    assert [one["rule"] for one in found["rules"] if one["offenders"]] == ["entry-owner-living"]
    assert found["counts"]["entries"] == 1


async def test_a_catalog_is_shown_as_a_file_that_can_be_applied(shop, file):
    text = await shop.command("catalog", "show", str(ORG))
    out = await shop.command("catalog", "apply", str(file("again.yaml", text)))
    assert out == f"org {ORG}: version 1, unchanged\n"
    again = file("again.json", json.dumps(await shop.document("catalog", "show", str(ORG))))
    unchanged = [{"orgId": ORG, "version": 1, "changed": False}]
    assert await shop.document("catalog", "apply", str(again)) == unchanged
    smaller = file("smaller.json", json.dumps(CATALOG | {"sources": {"WECHAT": "multiple"}}))
    await imported(shop, "customers", file("z.jsonl", [customer(901, ("line", "l901"))]))
    assert "INSTORE" in await shop.command("catalog", "apply", str(smaller), status=1)


async def test_topics_are_created_once_and_compared(module_world):
    out = json.loads(await module_world.command("topics", "create", "--partitions", "9", "--json"))
    assert out["created"] == []
    assert {one["config"] for one in out["differences"]} == {"partitions"}


@pytest.mark.parametrize("words", [("send", "FILE"), ("import", "customers", "FILE"), ("watch",)], ids=" ".join)
async def test_missing_topics_are_one_line_that_says_what_to_do(module_world, tmp_path, words):
    path = tmp_path / "lines"
    path.write_text(json.dumps(customer(1)))
    words = [str(path) if word == "FILE" else word for word in words]
    said = await module_world.command(*words, status=2, MERGELINE_TOPIC_PREFIX="elsewhere.")
    (line,) = [line for line in said.splitlines() if "watching" not in line]
    assert line.startswith("mergeline: Topics are missing: elsewhere.")
    assert "mergeline topics create" in line


async def test_a_database_that_is_not_migrated_is_one_line_that_says_what_to_do(module_world, empty_database_url):
    said = await module_world.command("verify", status=2, MERGELINE_DATABASE_URL=empty_database_url)
    (line,) = said.splitlines()
    assert "is not migrated" in line
    assert "mergeline migrate" in line
    assert (await module_world.document("migrate", MERGELINE_DATABASE_URL=empty_database_url))["applied"]
    assert (await module_world.document("migrate", MERGELINE_DATABASE_URL=empty_database_url))["applied"] == []
    await module_world.command("verify", MERGELINE_DATABASE_URL=empty_database_url)
