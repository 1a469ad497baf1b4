"""Hostile files: catalogs that are nearly YAML, and lines of registrations and requests that are nearly that.

In: dice. Out: the bytes of a file. Never: a look at the code under test.
"""

import json
from pathlib import Path

from tests.attacks.hostile import CARDS, CUSTOMERS, TOPICS, UPDATES, Hostile, Mutator

CATALOGS = Path(__file__).parents[2] / "schemas" / "examples" / "catalog"
YAML = (
    *("&a [*a]", "*b", "<<: *c", "!!python/object/apply:os.system [x]", "!x y", "? [1, 2]", "? {a: b}", "---", "..."),
    *("%YAML 9", "\t", "- - - - -", "|", ">", "&a", "@", "`", "{" * 3_000, "[" * 3_000, "- " * 3_000, "? " * 2_000),
    *("x: " * 2_000, '"\\ud800"', '"\\0"', "\0", "\x85", "\u2028", "\ufeff", "'", '"', "# ", "2026-01-01", "0o17"),
    *("1_000", "~", "", "=", "<<", "orgId: 1", "series: [{id: 1}, {id: 1}]", "sources: {A: single, A: multiple}"),
    *("9" * 5_000, "a" * 70_000, "!!binary x", "!!set {a}", "!!omap [a: 1]", "!!float nan", "!!int x", "!!timestamp x"),
    *("!!null x", "!!bool x", "!!merge x", "!!str"),
)
STRANGE = (
    *(None, True, 0, -1, 2**63, 1.5, "", "\0", "x" * 256, [], {}, [None], {"": ""}, {"a": {}}, [[]], "NaN"),
    [1] * 3_000,
)
CSV = (
    "orgId,customerId,source,accountId,type,value",
    "orgId,customerId,source,type,value",
    "value,type,source,customerId,orgId",
    "orgId,customerId",
    "orgId,orgId,customerId,source,type,value",
    '"orgId","customerId",source,type,value',
)
CARD_CSV = ("orgId,cardNumber,seriesId", "orgId,cardNumber,seriesCode,statusLabel,cardExternalId", "cardNumber")
CELLS = (
    "100737",
    "1",
    "7",
    "INSTORE",
    "email",
    "a@b.example",
    "",
    " ",
    '"',
    '""',
    '"x',
    "x\0",
    "é",
    "\ud800",
    "9" * 30,
    ",",
    "\t",
)
LINE_MAX = 1024 * 1024
LINES = (
    *(b"", b" ", b"#", b"\0", b"\xff", b"\xef\xbb\xbf{}", b"\r"),
    *(b"x" * 70_000, b" " * LINE_MAX, b"{" * (LINE_MAX - 1)),
)


def catalog(dice):
    """A catalog file, damaged as text, as YAML or as a document."""
    valid = dice.choice(sorted((CATALOGS / "valid").iterdir()) + sorted((CATALOGS / "invalid").glob("*.json")))
    text = valid.read_text()
    match dice.randrange(4):
        case 0:
            return Mutator(dice).damaged(text) or b""
        case 1:
            lines = text.splitlines()
            lines.insert(dice.randrange(len(lines) + 1), dice.choice(("", " ", "  ")) + dice.choice(YAML))
            return "\n".join(lines).encode(errors="replace")
        case 2:
            at = dice.randrange(len(text) + 1)
            return (text[:at] + dice.choice(YAML) + text[at + dice.randrange(3) :]).encode(errors="replace")
    document = json.loads(text)
    field = dice.choice([*document, "blockList", "sources", "series", "statusLabels", "x", ""]) if document else "x"
    if isinstance(document, dict):
        document[field] = dice.choice(STRANGE)
    return json.dumps(document).encode()


def lines(dice, count, topic=None):
    """JSON Lines, some of them torn, too long, empty, or not text at all."""
    hostile = Hostile(dice.randrange(1 << 30), large=0.0)
    out = []
    while len(out) < count:
        sent = next(hostile)
        if sent.topic not in ((topic,) if topic else TOPICS):
            continue
        out.append((sent.value or b"").replace(b"\n", b" ") if dice.randrange(20) else sent.value or b"")
    special = (
        b"",
        b" ",
        b"#",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b"\r",
        b"x" * 70_000,
        b" " * LINE_MAX,
        b"{" * (LINE_MAX - 1),
    )
    for line in dice.sample(special, 6):
        out.insert(dice.randrange(len(out)), line)
    return dice.choice((b"\n", b"\r\n", b"\n\n")).join(out) + dice.choice((b"", b"\n", b"\0"))


def table(dice, count, kind):
    """A CSV of customers or cards."""
    header = dice.choice(CSV if kind == "customers" else CARD_CSV)
    rows = [",".join(dice.choice(CELLS) for _ in range(dice.choice((0, 1, 3, 5, 6, 6, 6, 20)))) for _ in range(count)]
    text = "\n".join([header, *rows]).encode(errors="surrogatepass")
    return text if dice.randrange(3) else Mutator(dice).damaged(text.decode(errors="replace")) or b""


def line_file(dice, kind):
    """A file that `import` is given: its name says what it should be."""
    if dice.randrange(2):
        return f"{kind}.csv", table(dice, 20, kind)
    return f"{kind}.jsonl", lines(dice, 20, {"customers": CUSTOMERS, "cards": CARDS, "updates": UPDATES}[kind])
