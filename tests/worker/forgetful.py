"""`python -m tests.worker.forgetful worker`: a worker that knows of no topic when it first shares out the partitions.

It happens to one whose broker dies between its first word and its first look at the topics: it joins its group as soon
as the broker is back, with what it has.
"""

from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from mergeline.cli import main

assign = RoundRobinPartitionAssignor.assign


def forget(cluster, members):
    RoundRobinPartitionAssignor.assign = assign
    cluster._partitions = {}
    return assign(cluster, members)


if __name__ == "__main__":
    RoundRobinPartitionAssignor.assign = forget
    main(prog_name="mergeline")
