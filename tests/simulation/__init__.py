"""mergeline held to a second reading of its contract: a reference model, and everything that is compared with it.

| file | what it is |
| --- | --- |
| `reference*` | the reference model: plain dictionaries, without a line of `mergeline.domain` |
| `workload` | catalogs and requests from pools so small that they meet all the time |
| `run` | one run: orgs of its own, what is sent to them, and what the model says about it |
| `machine`, `compare` | state machines that drive model and mergeline, one run or fifty at once, and what is the same |
| `pure_system`, `store_system` | mergeline as the machine drives it: the planner alone, the store on PostgreSQL |
| `schedules` | every schedule of concurrent transactions, statement by statement; or random ones |
| `rivals`, `theatre`, `serial` | pairs that meet, where they are played, and what some serial order would give |
| `sizes`, `kinds` | how much is tried; what must have been seen |
"""
