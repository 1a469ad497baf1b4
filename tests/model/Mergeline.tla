------------------------------ MODULE Mergeline ------------------------------
(* Ownership by fencing, ledger and publishing, as the apply stage of a worker does them.

   Any worker may at any moment believe that partitions are its own: the group is not modelled, and so not trusted.
   A pause is a worker that takes no step while the others do. `Broken` names what is done wrong on purpose.
   README.md beside this file says which function each action stands for, and what is not modelled. *)
EXTENDS Naturals, Sequences, FiniteSets, TLC

CONSTANTS
    Workers,
    Log,         \* the input: of each partition the records, in order
    BatchMax,    \* records in a batch
    WaitingMax,  \* processed batches that wait for the one being published
    FaultsMax,   \* crashes, lost answers, time-outs, failed or unknown commits, together
    ContestsMax, \* how often a worker takes a partition while another one works on it
    IdsMax,      \* transactional ids in use at the same time; an id that nothing refers to any more counts as fresh
    Broken       \* what is done wrong: a set of the names below

ASSUME Broken \subseteq {
    "id visible before its init",
    "offsets read before fencing",
    "waiting batch not cut",
    "EndTxn retried",
    "failed batch not cut",
    "last owner not fenced",
    "rows not locked",
    "unknown claim taken for owned",
    "unknown batch commit taken for done",
    "ledger not looked up",
    "offsets outside the transaction",
    "published_offset raised too early",
    "offsets expire"} \* the last is no mistake of ours: Kafka forgets the offsets of a group that is away for days

VARIABLES
    live,      \* broker: transactional ids whose own producer has the newest epoch
    txn,       \* broker: of each id its transaction
    network,   \* of each id, EndTxn requests under way; none is ever lost for good, and any may be late
    committed, \* broker: the group's offsets, as OffsetFetch answers (what an open transaction holds is not among them)
    output,    \* broker: what a read_committed reader has seen, in order
    owner,     \* database: the rows of partition_owner
    ledger,    \* database: the answer to the record at a place, or NoRow
    decided,   \* how often a request was decided, counting committed decisions only (to judge by; nobody reads it)
    worker,
    faults, contests

broker == <<live, txn, network, committed, output>>
database == <<owner, ledger, decided>>
variables == <<live, txn, network, committed, output, owner, ledger, decided, worker, faults, contests>>

----------------------------------------------------------------------------
(* Records, places, answers *)

Partitions == DOMAIN Log
Ids == 1..IdsMax
NoId == 0
NoRow == <<"none">>
Dropped == <<"dropped">>
Places == UNION {{<<p, o>> : o \in 0..Len(Log[p]) - 1} : p \in Partitions}
LongestLog == CHOOSE n \in 0..9 : (\A p \in Partitions : Len(Log[p]) <= n) /\ \E p \in Partitions : Len(Log[p]) = n
Requests == {Log[p][o].request : <<p, o>> \in {<<p, o>> \in Partitions \X (1..9) : o <= Len(Log[p])}}
RecordAt(at) == Log[at[1]][at[2] + 1]
Record(request, body, origin) == [request |-> request, body |-> body, origin |-> origin]

\* Inputs to choose from.
OneRequest == << <<Record("a", "x", 1)>> >>
TwoRequests == << <<Record("a", "x", 1), Record("b", "x", 2)>> >>
ThreeRequests == << <<Record("a", "x", 1), Record("b", "x", 2), Record("c", "x", 3)>> >>
RouterRepeats == << <<Record("a", "x", 1), Record("a", "x", 1), Record("b", "x", 2)>> >>
ProducerRepeatsAndReuses == << <<Record("a", "x", 1), Record("a", "x", 2), Record("a", "y", 3)>> >>
Mixed == << <<Record("a", "x", 1), Record("a", "x", 1), Record("a", "x", 2), Record("b", "x", 3)>> >>
TwoPartitions == << <<Record("a", "x", 1)>>, <<Record("b", "x", 2)>> >>

Zero == [p \in Partitions |-> 0]
Max(a, b) == IF a > b THEN a ELSE b
Least(S) == CHOOSE x \in S : \A y \in S : x <= y

\* The answer to the record at a place, given the ledger: the table of domain/ledger.py.
Answer(known, at, w) ==
    LET record == RecordAt(at)
        rows == {x \in Places : known[x] # NoRow /\ RecordAt(x).request = record.request}
        own == {x \in rows : RecordAt(x) = record}
        decision == {x \in rows : known[x][1] = "decided"}
    IN  IF "ledger not looked up" \in Broken \/ rows = {} THEN <<"decided", w>>
        ELSE IF at \in own THEN known[at]
        ELSE IF own # {} THEN Dropped
        ELSE LET first == CHOOSE x \in decision : TRUE
             IN  IF RecordAt(first).body = record.body THEN <<"repeat", known[first][2]>> ELSE <<"reused", w>>

RECURSIVE Answers(_, _, _)
Answers(known, places, w) ==
    IF places = <<>> THEN <<>>
    ELSE LET answer == Answer(known, Head(places), w)
             grown == IF answer = Dropped THEN known ELSE [known EXCEPT ![Head(places)] = answer]
         IN  <<[at |-> Head(places), answer |-> answer]>> \o Answers(grown, Tail(places), w)

Cut(works, positions) == LET Keep(work) == work.at[2] >= positions[work.at[1]] IN SelectSeq(works, Keep)
Outgoing(works) == LET Speaks(work) == work.answer # Dropped IN SelectSeq(works, Speaks)
Ends(works) == [p \in Partitions |->
    LET mine == {i \in DOMAIN works : works[i].at[1] = p}
    IN  IF mine = {} THEN 0 ELSE 1 + works[CHOOSE i \in mine : \A j \in mine : j <= i].at[2]]
Raised(old, new) == [p \in Partitions |-> Max(old[p], new[p])]

\* All places from `low` up to `high`, partition by partition.
RECURSIVE Span(_, _, _)
Span(low, high, p) ==
    IF p > Len(Log) THEN <<>>
    ELSE [i \in 1..high[p] - low[p] |-> <<p, low[p] + i - 1>>] \o Span(low, high, p + 1)

RECURSIVE Sum(_, _)
Sum(f, p) == IF p = 0 THEN 0 ELSE f[p] + Sum(f, p - 1)

----------------------------------------------------------------------------
(* The broker *)

NoTxn == [state |-> "empty", records |-> <<>>, ends |-> Zero]

\* The effect of settling the transaction of an id: a prepared one is committed, whatever else is gone.
Visible(id) == IF txn[id].state = "prepared" THEN output \o txn[id].records ELSE output
CommittedWith(id) ==
    IF txn[id].state = "prepared"
    THEN [p \in Partitions |-> IF txn[id].ends[p] > 0 THEN txn[id].ends[p] ELSE committed[p]]
    ELSE committed
Settle(id) ==
    /\ output' = Visible(id)
    /\ committed' = CommittedWith(id)
    /\ txn' = [txn EXCEPT ![id] = NoTxn]

\* Kill the producer and acquire again; the pipeline goes on.
Again(w) == [worker[w] EXCEPT !.state = "wants", !.id = NoId, !.found = {}, !.read = Zero, !.step = "none"]

\* An accepted EndTxn only prepares; the markers, and with them readers, offsets and the next transaction, come later.
BrokerCompletes(id) ==
    /\ txn[id].state = "prepared"
    /\ Settle(id)
    /\ UNCHANGED <<live, network, database, worker, faults, contests>>

BrokerEndsTxn(id) ==
    /\ network[id] > 0
    /\ network' = [network EXCEPT ![id] = @ - 1]
    /\ txn' = IF id \in live /\ txn[id].state = "open" THEN [txn EXCEPT ![id].state = "prepared"] ELSE txn
    /\ worker' = [w \in Workers |->
           IF worker[w].id = id /\ worker[w].step = "ending"
           THEN IF id \in live THEN [worker[w] EXCEPT !.step = "acknowledged"] ELSE Again(w)
           ELSE worker[w]]
    /\ UNCHANGED <<live, committed, output, database, faults, contests>>

Fault == faults < FaultsMax /\ faults' = faults + 1

\* transaction.timeout.ms, or an init_transactions that arrives after its sender gave it up.
BrokerFences(id) ==
    /\ Fault
    /\ id \in live
    /\ Settle(id)
    /\ live' = live \ {id}
    /\ UNCHANGED <<network, database, worker, contests>>

OffsetsExpire ==
    /\ "offsets expire" \in Broken
    /\ Fault
    /\ \A w \in Workers : worker[w].state = "idle"
    /\ committed' = Zero
    /\ UNCHANGED <<live, txn, network, output, database, worker, contests>>

----------------------------------------------------------------------------
(* A worker: which partitions it believes to own, how far acquiring got, its pipeline *)

Idle == [
    state |-> "idle",  \* wants -> locked -> fenced -> read -> open
    partitions |-> {},
    opened |-> FALSE,  \* acquired at least once: the pipeline runs
    id |-> NoId,
    found |-> {},      \* ids found in partition_owner that are still to be fenced
    floor |-> Zero,    \* published_offset, as found
    read |-> Zero,     \* committed offsets, as read
    positions |-> Zero,
    next |-> Zero,     \* the offset to be fetched next
    waiting |-> <<>>,  \* processed batches
    works |-> <<>>,    \* the batch being published
    step |-> "none"]   \* of its transaction: records, both, ending, acknowledged

\* The publishing half takes the next batch as soon as it is free, and cuts it at the positions.
RECURSIVE Pulled(_)
Pulled(now) ==
    IF now.state = "open" /\ now.works = <<>> /\ now.waiting # <<>>
    THEN LET batch == Head(now.waiting) IN
         Pulled([now EXCEPT
             !.waiting = Tail(@),
             !.works = IF "waiting batch not cut" \in Broken THEN batch ELSE Cut(batch, now.positions)])
    ELSE now
Set(w, new) == worker' = [worker EXCEPT ![w] = Pulled(new)]
Others(w) == UNION {worker[v].partitions : v \in Workers \ {w}}
Contested(w) == worker[w].partitions \cap Others(w) # {}
Contest == contests < ContestsMax /\ contests' = contests + 1
Holds(w) == "rows not locked" \in Broken \/ \A p \in worker[w].partitions : owner[p].lock = w
Unlocked(w) == [p \in Partitions |-> IF owner[p].lock = w THEN [owner[p] EXCEPT !.lock = "nobody"] ELSE owner[p]]

InUse == {owner[p].id : p \in Partitions}
    \cup {worker[w].id : w \in Workers} \cup UNION {worker[w].found : w \in Workers}
    \cup {id \in Ids : network[id] > 0 \/ txn[id].state # "empty"}
Fresh == Least(Ids \ InUse)

\* ---- acquiring

Take(w, partitions) ==
    /\ worker[w].state = "idle"
    /\ IF partitions \cap Others(w) = {}
       THEN partitions = Partitions \ Others(w) /\ UNCHANGED contests
       ELSE Contest
    /\ Set(w, [Idle EXCEPT !.state = "wants", !.partitions = partitions])
    /\ UNCHANGED <<broker, database, faults>>

\* The group went on without it, and it knows.
GoQuiet(w) ==
    /\ worker[w].state = "wants"
    /\ Contested(w)
    /\ Set(w, Idle)
    /\ UNCHANGED <<broker, database, faults, contests>>

Lock(w) ==
    /\ worker[w].state = "wants"
    /\ IF worker[w].opened /\ Contested(w) THEN Contest ELSE UNCHANGED contests
    /\ "rows not locked" \in Broken \/ \A p \in worker[w].partitions : owner[p].lock = "nobody"
    /\ owner' = [p \in Partitions |->
           IF p \in worker[w].partitions THEN [owner[p] EXCEPT !.lock = w] ELSE owner[p]]
    /\ Set(w, [worker[w] EXCEPT
           !.state = "locked",
           !.found = IF "last owner not fenced" \in Broken THEN {}
                     ELSE {owner[p].id : p \in worker[w].partitions} \ {NoId},
           !.floor = [p \in Partitions |-> IF p \in worker[w].partitions THEN owner[p].published ELSE 0],
           !.read = IF "offsets read before fencing" \in Broken THEN committed ELSE Zero])
    /\ UNCHANGED <<broker, ledger, decided, faults>>

\* init_transactions with an id of somebody else, who can do nothing with it from now on.
Fence(w) ==
    /\ worker[w].state = "locked"
    /\ worker[w].found # {}
    /\ LET id == Least(worker[w].found) IN
       /\ Settle(id)
       /\ live' = live \ {id}
       /\ Set(w, [worker[w] EXCEPT !.found = @ \ {id}])
    /\ UNCHANGED <<network, database, faults, contests>>

InitOwn(w) ==
    /\ worker[w].state = "locked"
    /\ worker[w].found = {}
    /\ IF "id visible before its init" \in Broken THEN UNCHANGED live ELSE live' = live \cup {Fresh}
    /\ Set(w, [worker[w] EXCEPT !.state = "fenced", !.id = Fresh])
    /\ UNCHANGED <<txn, network, committed, output, database, faults, contests>>

\* While the rows are locked and everybody is fenced: where to go on, if the claim commits.
ReadOffsets(w) ==
    /\ worker[w].state = "fenced"
    /\ Set(w, [worker[w] EXCEPT !.state = "read",
           !.read = IF "offsets read before fencing" \in Broken THEN @ ELSE committed])
    /\ UNCHANGED <<broker, database, faults, contests>>
Opened(now) ==
    LET mine == [p \in Partitions |-> IF p \in now.partitions THEN Max(now.read[p], now.floor[p]) ELSE 0]
        positions == Raised(mine, now.positions)
    IN  [now EXCEPT
           !.state = "open", !.opened = TRUE, !.positions = positions,
           !.found = {}, !.floor = Zero, !.read = Zero,
           !.next = IF now.opened THEN @ ELSE positions,
           !.works = IF "failed batch not cut" \in Broken THEN @ ELSE Cut(@, positions)]

Claimed(w) == [p \in Partitions |->
    IF p \in worker[w].partitions THEN [owner[p] EXCEPT !.id = worker[w].id, !.lock = "nobody"] ELSE owner[p]]
Claiming(w) == worker[w].state = "read" /\ UNCHANGED <<broker, ledger, decided, contests>>
Owned(w) == IF "id visible before its init" \in Broken THEN [worker[w] EXCEPT !.state = "claimed"] ELSE Opened(worker[w])
Unsure(w) == IF "unknown claim taken for owned" \in Broken THEN Owned(w) ELSE Again(w)

ClaimCommits(w) ==
    /\ Claiming(w) /\ Holds(w)
    /\ owner' = Claimed(w)
    /\ Set(w, Owned(w))
    /\ UNCHANGED faults
ClaimCommitsUnknown(w) ==
    /\ Claiming(w) /\ Holds(w) /\ Fault
    /\ owner' = Claimed(w)
    /\ Set(w, Unsure(w))
ClaimFails(w) ==
    /\ Claiming(w) /\ Holds(w) /\ Fault
    /\ owner' = Unlocked(w)
    /\ Set(w, Unsure(w))
ClaimWasTimedOut(w) ==
    /\ Claiming(w) /\ ~Holds(w)
    /\ owner' = Unlocked(w)
    /\ Set(w, Again(w))
    /\ UNCHANGED faults

\* The database ends the transaction of a paused worker, which finds out when it wakes.
IdleTimeout(w) ==
    /\ Fault
    /\ worker[w].partitions # {} /\ Holds(w)
    /\ owner' = Unlocked(w)
    /\ UNCHANGED <<broker, ledger, decided, worker, contests>>

InitLate(w) ==
    /\ "id visible before its init" \in Broken
    /\ worker[w].state = "claimed"
    /\ Settle(worker[w].id)
    /\ live' = live \cup {worker[w].id}
    /\ Set(w, Opened(worker[w]))
    /\ UNCHANGED <<network, database, faults, contests>>

\* ---- a batch through the database: one transaction, its locks held to the end, so one step

Batches(w) == {high \in [Partitions -> 0..LongestLog] :
    /\ \A p \in Partitions :
        IF p \in worker[w].partitions
        THEN worker[w].next[p] <= high[p] /\ high[p] <= Len(Log[p])
        ELSE high[p] = worker[w].next[p]
    /\ LET size == [p \in Partitions |-> high[p] - worker[w].next[p]]
       IN  Sum(size, Len(Log)) \in 1..BatchMax}

Written(w, works) == [at \in Places |->
    LET mine == {i \in DOMAIN works : works[i].at = at /\ works[i].answer # Dropped}
    IN  IF mine = {} THEN ledger[at] ELSE works[CHOOSE i \in mine : TRUE].answer]

Process(w, high, effect, known) ==
    LET now == worker[w]
        works == Answers(ledger, Span(now.next, high, 1), w)
        reached == IF "published_offset raised too early" \in Broken THEN high ELSE now.positions
        raises == {p \in now.partitions : reached[p] > owner[p].published}
    IN  /\ \A p \in raises : owner[p].lock = "nobody"
        /\ IF effect
           THEN /\ ledger' = Written(w, works)
                /\ owner' = [p \in Partitions |->
                       IF p \in raises THEN [owner[p] EXCEPT !.published = reached[p]] ELSE owner[p]]
                /\ decided' = [r \in Requests |-> decided[r] + Cardinality({i \in DOMAIN works :
                       /\ works[i].answer # Dropped /\ works[i].answer[1] = "decided"
                       /\ RecordAt(works[i].at).request = r
                       /\ "ledger not looked up" \in Broken \/ ledger[works[i].at] = NoRow})]
           ELSE UNCHANGED database
        /\ IF known
           THEN Set(w, [now EXCEPT !.next = high, !.waiting = Append(@, works)])
           ELSE UNCHANGED worker
        /\ UNCHANGED <<broker, contests>>

HasRoom(w) == worker[w].opened /\ Len(worker[w].waiting) < WaitingMax
BatchCommits(w) == HasRoom(w) /\ \E high \in Batches(w) : Process(w, high, TRUE, TRUE) /\ UNCHANGED faults
\* The answer to the commit is lost: the batch is applied again.
BatchCommitsUnknown(w) == HasRoom(w) /\ Fault /\ \E high \in Batches(w) : Process(w, high, TRUE, FALSE)
\* A batch that fails is applied again: nothing changed. Unless somebody takes its unknown commit for done.
BatchFails(w) ==
    /\ "unknown batch commit taken for done" \in Broken
    /\ HasRoom(w) /\ Fault /\ \E high \in Batches(w) : Process(w, high, FALSE, TRUE)

\* ---- publishing

\* (The worker sends records and offsets at the same time. The broker shows neither before EndTxn: one order will do.)
\* A request of the transaction, answered; or refused, since another one has initialised the id.
Sending(w, step) ==
    /\ worker[w].state = "open"
    /\ worker[w].works # <<>>
    /\ worker[w].step = step
    /\ worker[w].id \in live => txn[worker[w].id].state # "prepared"
    /\ UNCHANGED <<live, network, output, database, faults, contests>>
Sent(w, step) == Set(w, IF worker[w].id \in live THEN [worker[w] EXCEPT !.step = step] ELSE Again(w))

SendRecords(w) ==
    LET id == worker[w].id
        records == Outgoing(worker[w].works) IN
    /\ Sending(w, "none")
    /\ records # <<>>
    /\ Sent(w, "records")
    /\ txn' = IF id \in live THEN [txn EXCEPT ![id].state = "open", ![id].records = records] ELSE txn
    /\ UNCHANGED committed

SendOffsets(w) ==
    LET id == worker[w].id
        ends == Ends(worker[w].works) IN
    /\ Sending(w, IF Outgoing(worker[w].works) = <<>> THEN "none" ELSE "records")
    /\ Sent(w, "both")
    /\ IF "offsets outside the transaction" \in Broken
       THEN /\ committed' = [p \in Partitions |-> IF ends[p] > 0 THEN ends[p] ELSE committed[p]]
            /\ UNCHANGED txn
       ELSE /\ txn' = IF id \in live THEN [txn EXCEPT ![id].state = "open", ![id].ends = ends] ELSE txn
            /\ UNCHANGED committed

SendEndTxn(w) ==
    /\ worker[w].step = "both"
    /\ network' = [network EXCEPT ![worker[w].id] = @ + 1]
    /\ Set(w, [worker[w] EXCEPT !.step = "ending"])
    /\ UNCHANGED <<live, txn, committed, output, database, faults, contests>>

PublishSucceeds(w) ==
    /\ worker[w].step = "acknowledged"
    /\ Set(w, [worker[w] EXCEPT
           !.positions = Raised(@, Ends(worker[w].works)), !.works = <<>>, !.step = "none"])
    /\ UNCHANGED <<broker, database, faults, contests>>

\* A time-out or a broken connection: the request may have been applied, may yet be, or never.
PublishFails(w) ==
    /\ Fault
    /\ worker[w].step # "none"
    /\ IF "EndTxn retried" \in Broken /\ worker[w].step \in {"ending", "acknowledged"}
       THEN /\ network' = [network EXCEPT ![worker[w].id] = @ + 1]
            /\ Set(w, [worker[w] EXCEPT !.step = "ending"])
       ELSE /\ Set(w, Again(w))
            /\ UNCHANGED network
    /\ UNCHANGED <<live, txn, committed, output, database, contests>>

\* kill -9; the database notices, what is under way to the broker stays under way.
Crash(w) ==
    /\ Fault
    /\ worker[w].state # "idle"
    /\ owner' = Unlocked(w)
    /\ Set(w, Idle)
    /\ UNCHANGED <<broker, ledger, decided, contests>>

----------------------------------------------------------------------------

Init ==
    /\ live = {}
    /\ txn = [id \in Ids |-> NoTxn]
    /\ network = [id \in Ids |-> 0]
    /\ committed = Zero
    /\ output = <<>>
    /\ owner = [p \in Partitions |-> [id |-> NoId, lock |-> "nobody", published |-> 0]]
    /\ ledger = [at \in Places |-> NoRow]
    /\ decided = [r \in Requests |-> 0]
    /\ worker = [w \in Workers |-> Idle]
    /\ faults = 0
    /\ contests = 0

Drained == \A p \in Partitions : committed[p] = Len(Log[p])

\* Without it, the end of a behaviour would count as a deadlock. With it, TLC's check for deadlocks says that nothing is
\* lost in the end: every other action uses up a fault, a contest or a part of the log, so that every behaviour gets to
\* a state without a next step, and that must be a drained one. (`EventuallyDrained` checks the same, and with it that
\* there is no circle, but takes longer.)
Done == Drained /\ UNCHANGED variables

Acquire(w) ==
    \/ \E partitions \in SUBSET Partitions \ {{}} : Take(w, partitions)
    \/ GoQuiet(w) \/ Lock(w) \/ Fence(w) \/ InitOwn(w) \/ InitLate(w) \/ ReadOffsets(w)
    \/ ClaimCommits(w) \/ ClaimCommitsUnknown(w) \/ ClaimFails(w) \/ ClaimWasTimedOut(w) \/ IdleTimeout(w)
Publish(w) ==
    \/ SendRecords(w) \/ SendOffsets(w) \/ SendEndTxn(w)
    \/ PublishSucceeds(w) \/ PublishFails(w)

Step ==
    \/ \E w \in Workers :
        Acquire(w) \/ BatchCommits(w) \/ BatchCommitsUnknown(w) \/ BatchFails(w) \/ Publish(w) \/ Crash(w)
    \/ \E id \in Ids : BrokerEndsTxn(id) \/ BrokerCompletes(id) \/ BrokerFences(id)
    \/ OffsetsExpire

Spec == Init /\ [][Step \/ Done]_variables

\* No more is asked of workers, broker and database than that something that can happen does.
FairSpec == Spec /\ WF_variables(Step)
EventuallyDrained == <>Drained

----------------------------------------------------------------------------
(* The promises *)

Seen(at) == {i \in DOMAIN output : output[i].at = at}
IsRouterRepeat(at) == \E o \in 0..at[2] - 1 : RecordAt(<<at[1], o>>) = RecordAt(at)

\* Nothing is lost: what the group counts as done has its answer, and a router's repeat has none.
NothingLost == \A at \in Places : at[2] < committed[at[1]] => IsRouterRepeat(at) \/ Seen(at) # {}

\* Published once.
PublishedOnce == \A at \in Places : Cardinality(Seen(at)) <= IF IsRouterRepeat(at) THEN 0 ELSE 1

\* A reader never sees the records of a batch before its offsets are committed with them.
RecordsAndOffsetsTogether == \A i \in DOMAIN output : output[i].at[2] < committed[output[i].at[1]]

PublishedAsStored == \A i \in DOMAIN output : ledger[output[i].at] = output[i].answer

InOrder == \A i, j \in DOMAIN output : i < j /\ output[i].at[1] = output[j].at[1] => output[i].at[2] < output[j].at[2]

DecidedOnce == \A r \in Requests : decided[r] <= 1

\* What `published_offset` says is true once the broker has completed what it prepared.
ProgressIsTrue == \A p \in Partitions :
    \/ owner[p].published <= committed[p]
    \/ \E id \in Ids : txn[id].state = "prepared" /\ owner[p].published <= txn[id].ends[p]

\* To be checked as a property: no step lowers a committed offset.
OffsetsNeverGoBack == [][\A p \in Partitions : committed'[p] >= committed[p]]_variables

\* The model itself: there is always a fresh id.
IdsSuffice == Ids \ InUse # {}

----------------------------------------------------------------------------
\* It is the same whichever worker is called A.
Symmetry == Permutations(Workers)
=============================================================================
