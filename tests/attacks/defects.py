"""What an audit finds: how many defects of each kind, and the first few by name."""

from collections import Counter

NAMED_MAX = 5


class Defects:
    """Defects by kind; bounded, however many there are."""

    def __init__(self):
        self.counts = Counter()
        self._named = {}

    def add(self, kind, offender):
        self.counts[kind] += 1
        named = self._named.setdefault(kind, [])
        if len(named) < NAMED_MAX:
            named.append(str(offender))

    def take(self, others):
        """Those of another judgement too."""
        self.counts += others.counts
        self._named |= others._named

    def __bool__(self):
        return bool(self.counts)

    def lines(self):
        return [f"{kind}: {count}, as {'; '.join(self._named[kind])}" for kind, count in self.counts.most_common()]
