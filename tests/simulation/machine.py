"""State machines that drive the reference model and mergeline side by side.

In: a `system`, which is mergeline behind four calls. Out: a failure, with the steps that lead to it, at the first
difference in what is published or stored. Each step is one batch; and in each, messages that came before come again.

`Simulation` is one run, and hypothesis chooses every message: it finds the shortest steps that fail. `Crowd` is many
runs that step at once, each from a seed of its own: their batches share round trips, so it gets through far more.
"""

import random
from collections import Counter
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.simulation import workload
from tests.simulation.compare import stored_by_models
from tests.simulation.run import KINDS, LOOK_BACK, SEEDS, Run

SEED = st.integers(0, SEEDS)
BACK = st.integers(0, LOOK_BACK)  # 0 is the latest
BATCH = st.lists(st.tuples(st.sampled_from(KINDS), SEED, BACK), min_size=1, max_size=8)
CROWD = 50  # runs that step at once


class Machine(RuleBasedStateMachine):
    """Set `system` in a subclass. Its `begin` says at which org each of so many runs begins."""

    system = None
    size = 1
    seen: ClassVar  # kinds of answers and events, codes of errors and warnings, over all runs of one class

    def __init_subclass__(cls, **keywords):
        super().__init_subclass__(**keywords)
        cls.seen = Counter()

    def __init__(self):
        super().__init__()
        self.runs = [Run(first_org, self.seen) for first_org in self.system.begin(self.size)]

    @initialize(seed=SEED)
    def set_up(self, seed):
        for number, run in enumerate(self.runs):
            dice = random.Random(f"{seed} {number}")
            for org in workload.ORGS:
                self.apply_catalog(run, workload.catalog(dice, org))
        self.process([(run, run.first_customers(f"{seed} {number}")) for number, run in enumerate(self.runs)])
        self.process([(run, run.first_cards()) for run in self.runs])

    @invariant()
    def what_is_stored_is_what_the_models_say(self):
        assert self.system.stored() == stored_by_models(run.model.state for run in self.runs)

    def apply_catalog(self, run, document):
        document = run.own(document)
        taken = run.model.apply_catalog(document)
        assert self.system.apply_catalog(document, expected=taken) == taken
        run.catalog_changed()

    def process(self, batches, by_place=()):
        """One batch of all, by mergeline and then by the models; the messages of `by_place` runs are known by place."""
        whose = [(run, message) for run, messages in batches for message in messages]
        if not whose:
            return
        messages = [message for _, message in whose]
        places = {(one.at.topic, one.at.partition) for run, one in whose if run in by_place}
        for (run, message), records in zip(whose, self.system.apply(messages, places), strict=True):
            run.judge(message, records)


class Simulation(Machine):
    """One run."""

    @rule(batch=BATCH, at_once=st.sampled_from([8, 8, 8, 2]))
    def messages_arrive(self, batch, at_once):
        (run,) = self.runs
        messages = run.arrivals(batch)
        for start in range(0, len(messages), at_once):
            self.process([(run, messages[start : start + at_once])])

    @precondition(lambda self: self.runs[0].may_change_catalog())
    @rule(org=st.sampled_from(workload.ORGS), seed=SEED)
    def a_catalog_changes(self, org, seed):
        self.apply_catalog(self.runs[0], workload.catalog(random.Random(seed), org))

    @precondition(lambda self: self.runs[0].may_crash())
    @rule(back=BACK, count=st.integers(1, 8), by_place=st.booleans())
    def a_crash_makes_them_come_again(self, back, count, by_place):
        """The same bytes, whether they are found by their place or by their id; and nothing changes."""
        (run,) = self.runs
        self.process([(run, run.after_a_crash(back, count))], by_place=self.runs if by_place else ())


class Crowd(Machine):
    """Many runs. Each does in a step what its dice say; a failure is looked for with the first run alone, too."""

    size = CROWD

    @rule(seed=SEED, alone=st.sampled_from([True] + [False] * 29))
    def everybody_steps(self, seed, alone):
        runs = self.runs[:1] if alone else self.runs
        batches, by_place = [], []
        for number, run in enumerate(runs):
            dice = random.Random(f"{seed} {number}")
            what = dice.randrange(12)
            if what == 0 and run.may_change_catalog():
                self.apply_catalog(run, workload.catalog(dice, dice.choice(workload.ORGS)))
            if what == 1 and run.may_crash():
                batches.append((run, run.after_a_crash(dice.randrange(LOOK_BACK), dice.randint(1, 8))))
                by_place += [run] * dice.randrange(2)
            else:
                chosen = range(dice.choice([1, 1, 2, 3]))
                drawn = [(dice.choice(KINDS), dice.randrange(SEEDS), dice.randint(0, LOOK_BACK)) for _ in chosen]
                batches.append((run, run.arrivals(drawn)))
        self.process(batches, by_place)
