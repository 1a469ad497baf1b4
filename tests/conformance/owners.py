"""Who has what in the end, told by the events alone.

In: the change events of one org. Out: a name for each identifier, card and victim, and its owner. This is how a
subscriber would keep a copy: `customerVersion` is the order, and a merge carries everything that it moved.
"""

from tests.conformance.scenario import FILLER


def owners(records):
    """`identifiers email ann@example.com INSTORE` → customer; `cards G1` → customer; `survivors 1` → customer."""
    found = {}
    for record in sorted(records, key=version):
        data = record.data
        match record.topic:
            case "customer-merged":
                found |= {entry_name(entry): data["survivorId"] for entry in data["movedIdentifiers"]}
                found |= {f"cards {card['cardNumber']}": data["survivorId"] for card in data["movedCards"]}
            case "identifiers-changed":
                for identifier in data["removed"]:
                    found.pop(entry_name(data | identifier), None)
                found |= {entry_name(data | identifier): data["customerId"] for identifier in data["added"]}
            case "card-issued":
                found[f"cards {data['cardNumber']}"] = data["customerId"]
            case "card-changed" if data["status"] == "NOT_ISSUED":
                found.pop(f"cards {data['cardNumber']}", None)
            case "customer-redirects":
                found[f"survivors {data['victimId']}"] = data["survivorId"]
    return {name: owner for name, owner in found.items() if FILLER not in name}


def version(record):
    """When it happened; within one request in the order of versions."""
    return record.data["occurredAt"], record.data.get("customerVersion") or 0


def entry_name(entry):
    scope = entry["source"] if entry["accountId"] is None else f"{entry['source']}/{entry['accountId']}"
    return f"identifiers {entry['type']} {entry['value']} {scope}"
