"""mergeline without its database: the planner on rows in memory, each batch decided on all of them and on the few
that the real store would read.
"""

from tests.defaults import default_limits
from tests.simulation.compare import card_row, moved, unordered
from tests.simulation.reference_state import instant
from tests.simulation.run import MERGE_MAX_ENTRIES, ORGS_A_RUN
from tests.unit.world import World

from mergeline.domain.batch import answer_again
from mergeline.domain.catalog import Catalog
from mergeline.domain.events import event_id, merge_data
from mergeline.domain.vocabulary import Topic


class PureSystem:
    """What a `machine.Machine` drives."""

    def begin(self, runs):
        self.world, self.merges = World(limits=default_limits(merge_max_entries=MERGE_MAX_ENTRIES)), {}
        self.world.catalogs.clear()
        return range(0, runs * ORGS_A_RUN, ORGS_A_RUN)

    def apply_catalog(self, document, *, expected):
        if expected:  # what would be orphaned is a question to the database
            self.world.catalogs[document["orgId"]] = Catalog.model_validate(document)
        return expected

    def apply(self, messages, by_place):
        again = [message for message in messages if (message.at.topic, message.at.partition) in by_place]
        rows = {row.at: row for row in self.world.rows.ledger} if again else {}
        found = {m.at: answer_again(m, rows[m.at], "mergeline.").outgoing if m.at in rows else () for m in again}
        others = [message for message in messages if message.at not in found]
        said = self.world.batch(others)
        for one in said:
            decision, row = one.verdict.decision, one.answer.row
            if decision is not None and decision.merge is not None:
                data = merge_data(decision.merge) | {"occurredAt": instant(row.decided_at), "requestId": row.request_id}
                self.merges[event_id(row.org_id, row.request_id, Topic.CUSTOMER_MERGED, 0)] = unordered(moved(data))
        found |= {message.at: one.records for message, one in zip(others, said, strict=True)}
        return [found[message.at] for message in messages]

    def stored(self):
        rows = self.world.rows
        fields = ("series_id", "customer_id", "label", "status", "issued_at", "expires_at", "external_id")
        return {
            "customers": {key: (row.survivor_id, row.version) for key, row in rows.customers.items()},
            "entries": {
                (org, entry.type, entry.value, entry.scope.source, entry.scope.account or None): owner
                for (org, entry), owner in rows.entries.items()
            },
            "cards": {
                key: card_row({field: getattr(row, field) for field in fields}) for key, row in rows.cards.items()
            },
            "merges": dict(self.merges),
        }
