--------------------------------- MODULE Reset ---------------------------------
(* A topic that is made anew, and `topics reset`: its next incarnation, while workers sleep and runs are killed.

   Of ownership and publishing only what a reset meets; a publish is one step here (Mergeline.tla takes it apart).
   Whoever sleeps takes no step. What is asked of Kafka under a lock is given up before the database ends the lock, so a
   run whose lock is gone asks nothing more. README.md beside this file says which function each action stands for. *)
EXTENDS Integers, Sequences, FiniteSets, TLC

CONSTANTS
    Workers,
    Runs,       \* of `topics reset`; each may be killed, and started again
    Former,     \* of each partition, how many records its former log has
    Anew,       \* and how many its new one
    FaultsMax,  \* crashes of workers and runs, together
    ContestsMax, \* how often a worker takes the topic while another one has it
    IdsMax,     \* transactional ids that something refers to at the same time
    Broken      \* what is done wrong: a set of the names below

ASSUME Broken \subseteq {
    "not locked out first",
    "workers not fenced",
    "former incarnation not closed",
    "guard reads before it waits",
    "claim does not name the incarnation",
    "nothing stored, nothing missed",
    "mark not read",
    "marked before published",
    "ends before all is published"}

VARIABLES
    topic,     \* broker: which log it is, 1 or 2
    live,      \* broker: transactional ids of workers that nobody fenced
    committed, \* broker: the group's offsets
    mark,      \* broker: what a run has left beside them: <<incarnation, partition, offset>>
    output,    \* broker: of each answer who published it, in order
    current,   \* database: the row of topic_incarnation, with who holds it
    row,       \* database: the rows of partition_owner, by incarnation and partition
    ledger,    \* database: places that are answered
    worker, run,
    faults, contests

broker == <<topic, live, committed, mark, output>>
database == <<current, row, ledger>>
variables == <<topic, live, committed, mark, output, current, row, ledger, worker, run, faults, contests>>

Partitions == DOMAIN Former
OneEach == <<1, 1>>
OneInTheSecond == <<0, 1>>
Two == <<2>>
One == <<1>>
Log(n) == IF n = 1 THEN Former ELSE Anew
Places == UNION {{<<n, p, o>> : o \in 0..Log(n)[p] - 1} : n \in {1, 2}, p \in Partitions}
None == -1
NoId == 0
Ids == 1..IdsMax
NoMark == <<0, 0, -1>>
Zero == [p \in Partitions |-> 0]
Max(a, b) == IF a > b THEN a ELSE b
Least(S) == CHOOSE x \in S : \A y \in S : x <= y
NoRow == [id |-> NoId, published |-> 0, answered |-> None]
Before(a, b) == a[1] < b[1] \/ (a[1] = b[1] /\ a[2] < b[2])

Idle == [
    state |-> "idle",  \* looked -> locked -> fenced -> open
    opened |-> FALSE,  \* acquired at least once: what it has in hand stays
    log |-> 0,         \* the log that it compared, and reads
    number |-> 0,      \* the incarnation that its places name
    id |-> NoId,
    published |-> Zero,
    answered |-> Zero, \* what it remembers to be stored
    next |-> Zero,     \* the offset to be fetched next
    hand |-> {},       \* places that were fetched, and not stored
    waits |-> {},      \* of these, one that is on its way to the database, with the `answered_offset` it saw
    stored |-> {}]     \* places that are stored, and not published
NoRun == [state |-> "none", behind |-> NoMark, rows |-> FALSE]

Fault == faults < FaultsMax /\ faults' = faults + 1
Set(w, new) == worker' = [worker EXCEPT ![w] = new]
Run(r, new) == run' = [run EXCEPT ![r] = new]
Ends(w) == Set(w, Idle) /\ live' = live \ {worker[w].id}
InUse == {row[n][p].id : n \in {1, 2}, p \in Partitions} \cup {worker[w].id : w \in Workers}
Fresh == Least(Ids \ InUse)
Holder == current.lock
Claiming == {w \in Workers : worker[w].state \in {"locked", "fenced"}}
\* The rows of an incarnation that somebody holds: a claim, or a reset.
RowsHeld(n) == (Holder # "nobody" /\ current.number = n) \/ \E w \in Claiming : worker[w].number = n

----------------------------------------------------------------------------
(* Kafka *)

\* Deleted and created; with it went the group's offsets.
MadeAnew ==
    /\ topic = 1
    /\ topic' = 2
    /\ committed' = Zero
    /\ mark' = NoMark
    /\ UNCHANGED <<live, output, database, worker, run, faults, contests>>

----------------------------------------------------------------------------
(* A worker *)

\* It compares the topic's id with what is recorded.
Look(w) ==
    /\ worker[w].state = "idle"
    /\ current.log = topic
    /\ IF \A v \in Workers \ {w} : worker[v].state = "idle" THEN UNCHANGED contests
       ELSE contests < ContestsMax /\ contests' = contests + 1
    /\ Set(w, [Idle EXCEPT !.state = "looked", !.log = topic, !.number = current.number])
    /\ UNCHANGED <<broker, database, run, faults>>

\* The incarnation held, compared, then the rows of the partitions locked.
Lock(w) ==
    /\ worker[w].state = "looked"
    /\ Holder = "nobody"
    /\ ~RowsHeld(worker[w].number)
    /\ IF worker[w].number = current.number \/ "claim does not name the incarnation" \in Broken
       THEN Set(w, [worker[w] EXCEPT !.state = "locked"]) /\ UNCHANGED live
       ELSE Ends(w)
    /\ UNCHANGED <<topic, committed, mark, output, database, run, faults, contests>>

Fence(w) ==
    /\ worker[w].state = "locked"
    /\ live' = (live \ {row[worker[w].number][p].id : p \in Partitions}) \cup {Fresh}
    /\ Set(w, [worker[w] EXCEPT !.state = "fenced", !.id = Fresh])
    /\ UNCHANGED <<topic, committed, mark, output, database, run, faults, contests>>

\* What the row has to say to one that acquires again: as much as it remembers, if that is nothing too.
LeastKnown(answered) == IF "nothing stored, nothing missed" \in Broken /\ answered = 0 THEN None ELSE answered

\* Positions are read, the id is written, and where there was no answer where the partition begins; committed.
Claim(w) ==
    LET n == worker[w].number
        now == worker[w]
        positions == [p \in Partitions |-> Max(now.published[p], Max(committed[p], row[n][p].published))]
        answered == [p \in Partitions |-> IF row[n][p].answered = None THEN positions[p] ELSE row[n][p].answered] IN
    /\ now.state = "fenced"
    /\ IF now.opened /\ \E p \in Partitions : row[n][p].answered < LeastKnown(now.answered[p])
       THEN Ends(w) /\ UNCHANGED row
       ELSE /\ row' = [row EXCEPT ![n] = [p \in Partitions |->
                   [id |-> now.id, published |-> row[n][p].published, answered |-> answered[p]]]]
            /\ Set(w, [now EXCEPT !.state = "open", !.opened = TRUE,
                   !.log = IF "claim does not name the incarnation" \in Broken THEN topic ELSE @, !.published = positions,
                   !.answered = [p \in Partitions |-> Max(@[p], answered[p])],
                   !.next = IF now.opened THEN @ ELSE positions,
                   !.stored = {x \in @ : x[3] >= positions[x[2]]}])
            /\ UNCHANGED live
    /\ UNCHANGED <<topic, committed, mark, output, current, ledger, run, faults, contests>>

\* A publish fails, without effect: it compares the topic again, and acquires with what it has in hand.
Again(w) ==
    /\ Fault
    /\ worker[w].state = "open"
    /\ current.log = topic /\ current.log = worker[w].log
    /\ Set(w, [worker[w] EXCEPT !.state = "looked", !.id = NoId])
    /\ live' = live \ {worker[w].id}
    /\ UNCHANGED <<topic, committed, mark, output, database, run, contests>>

\* The database ends the transaction of one that sleeps in its claim.
ClaimFails(w) ==
    /\ worker[w].state \in {"locked", "fenced"}
    /\ Fault
    /\ Ends(w)
    /\ UNCHANGED <<topic, committed, mark, output, database, run, contests>>

\* From the log that it compared. (One that reads on in another, before it looks again, is told about in deploy/README.md.)
Fetch(w) == \E p \in Partitions :
    LET now == worker[w] IN
    /\ now.state = "open"
    /\ now.log = topic
    /\ now.next[p] < Log(topic)[p]
    /\ Set(w, [now EXCEPT !.next[p] = @ + 1, !.hand = @ \cup {<<now.number, p, now.next[p]>>}])
    /\ UNCHANGED <<broker, database, run, faults, contests>>

\* A batch goes to the database: in order within a partition, one at a time. It waits where somebody holds the row.
Begin(w) == \E x \in worker[w].hand :
    /\ worker[w].waits = {}
    /\ \A y \in worker[w].hand : y[2] = x[2] => x[3] <= y[3]
    /\ Set(w, [worker[w] EXCEPT !.hand = @ \ {x}, !.waits = {<<x, row[x[1]][x[2]].answered>>}])
    /\ UNCHANGED <<broker, database, run, faults, contests>>

\* What it remembers is there; else it ends itself.
Store(w) == \E waiting \in worker[w].waits :
    LET x == waiting[1]
        n == x[1]
        p == x[2]
        seen == IF "guard reads before it waits" \in Broken THEN waiting[2] ELSE row[n][p].answered IN
    /\ ~RowsHeld(n)
    /\ IF worker[w].answered[p] <= seen
       THEN /\ ledger' = ledger \cup {x}
            /\ row' = [row EXCEPT ![n] = [q \in Partitions |->
                   [row[n][q] EXCEPT !.published = Max(@, worker[w].published[q]),
                                     !.answered = IF q = p THEN Max(@, x[3] + 1) ELSE @]]]
            /\ Set(w, [worker[w] EXCEPT !.waits = {},
                   !.stored = IF x[3] < worker[w].published[p] THEN @ ELSE @ \cup {x}, \* published by somebody else
                   !.answered[p] = Max(@, x[3] + 1)])
            /\ UNCHANGED live
       ELSE Ends(w) /\ UNCHANGED <<row, ledger>>
    /\ UNCHANGED <<topic, committed, mark, output, current, run, faults, contests>>

\* With its offset, in one transaction; or it is fenced, and finds at its next look that the topic is another.
Publish(w) == \E x \in worker[w].stored :
    /\ worker[w].state = "open"
    /\ \A y \in worker[w].stored : y[2] = x[2] => x[3] <= y[3]
    /\ IF worker[w].id \in live
       THEN /\ output' = [output EXCEPT ![x] = Append(@, "worker")]
            /\ committed' = [committed EXCEPT ![x[2]] = x[3] + 1]
            /\ Set(w, [worker[w] EXCEPT !.stored = @ \ {x}, !.published[x[2]] = x[3] + 1])
            /\ UNCHANGED live
       ELSE Ends(w) /\ UNCHANGED <<output, committed>>
    /\ UNCHANGED <<topic, mark, database, run, faults, contests>>

\* Killed, or told by its look.
Crash(w) ==
    /\ worker[w].state # "idle"
    /\ IF worker[w].state = "open" /\ worker[w].log # topic THEN UNCHANGED faults ELSE Fault
    /\ Ends(w)
    /\ UNCHANGED <<topic, committed, mark, output, database, run, contests>>

----------------------------------------------------------------------------
(* A run of `topics reset` *)

\* The row of the topic, then those of its partitions; the topic has to be another than the one that is recorded.
Locks(r) ==
    /\ run[r].state \in {"none", "locked out"}
    /\ current.log # topic
    /\ Holder = "nobody" /\ ~RowsHeld(current.number)
    /\ current' = [current EXCEPT !.lock = r]
    /\ Run(r, [run[r] EXCEPT !.state =
           IF @ = "none" /\ "not locked out first" \notin Broken THEN "locks out" ELSE "locked"])
    /\ UNCHANGED <<broker, row, ledger, worker, faults, contests>>

Fenced == IF "workers not fenced" \in Broken THEN live ELSE live \ {row[current.number][p].id : p \in Partitions}
Closed == IF "former incarnation not closed" \in Broken THEN row
          ELSE [row EXCEPT ![current.number] = [p \in Partitions |-> [@[p] EXCEPT !.id = NoId, !.answered = None]]]

\* Former owners are fenced; nobody answers there any more, whatever becomes of this run.
LocksOut(r) ==
    /\ run[r].state = "locks out"
    /\ live' = Fenced
    /\ row' = Closed
    /\ current' = [current EXCEPT !.lock = "nobody"]
    /\ Run(r, [run[r] EXCEPT !.state = "locked out"])
    /\ UNCHANGED <<topic, committed, mark, output, ledger, worker, faults, contests>>

\* Once more, for who began meanwhile. Its own producer, of the one id, is started, and with it any other run's ends.
Fences(r) ==
    /\ run[r].state = "locked"
    /\ live' = Fenced
    /\ Run(r, [run[r] EXCEPT !.state = "fenced"])
    /\ UNCHANGED <<topic, committed, mark, output, database, worker, faults, contests>>

\* How far an earlier run came; offsets set to the start, with what is left beside them.
Starts(r) ==
    /\ run[r].state = "fenced"
    /\ committed' = Zero
    /\ Run(r, [run[r] EXCEPT !.state = "publishes",
           !.behind = IF mark[1] = current.number + 1 /\ "mark not read" \notin Broken THEN mark ELSE NoMark])
    /\ UNCHANGED <<topic, live, mark, output, database, worker, faults, contests>>

\* Answers that are stored and not known to be published, behind a place, in the order of places.
Left(r) == {x \in ledger : /\ x[1] = current.number
                           /\ x[3] >= row[x[1]][x[2]].published
                           /\ Before(<<run[r].behind[2], run[r].behind[3]>>, <<x[2], x[3]>>)}
Page(r) == CHOOSE x \in Left(r) : \A y \in Left(r) \ {x} : Before(<<x[2], x[3]>>, <<y[2], y[3]>>)
Mark(x) == <<current.number + 1, x[2], x[3]>>

\* A page, with the mark behind it, in one transaction.
Publishes(r) ==
    LET x == Page(r) IN
    /\ run[r].state = "publishes"
    /\ Left(r) # {}
    /\ "marked before published" \in Broken => mark = Mark(x)
    /\ output' = [output EXCEPT ![x] = Append(@, "reset")]
    /\ mark' = Mark(x)
    /\ Run(r, [run[r] EXCEPT !.behind = Mark(x)])
    /\ UNCHANGED <<topic, live, committed, database, worker, faults, contests>>

\* Only where that is the mistake.
MarksEarly(r) ==
    /\ "marked before published" \in Broken
    /\ run[r].state = "publishes"
    /\ Left(r) # {}
    /\ mark # Mark(Page(r))
    /\ mark' = Mark(Page(r))
    /\ UNCHANGED <<topic, live, committed, output, database, worker, run, faults, contests>>

\* The former incarnation closed, the next one begun: committed.
Finishes(r) ==
    /\ run[r].state = "publishes"
    /\ Left(r) = {} \/ "ends before all is published" \in Broken
    /\ row' = Closed
    /\ current' = [number |-> current.number + 1, log |-> topic, lock |-> "nobody"]
    /\ Run(r, NoRun)
    /\ UNCHANGED <<broker, ledger, worker, faults, contests>>

\* Killed; or it slept, and the database has ended its transaction.
Killed(r) ==
    /\ Fault
    /\ run[r] # NoRun
    /\ Run(r, NoRun)
    /\ current' = IF Holder = r THEN [current EXCEPT !.lock = "nobody"] ELSE current
    /\ UNCHANGED <<broker, row, ledger, worker, contests>>

\* Another run was quicker.
Refused(r) ==
    /\ run[r].state = "locked out"
    /\ current.log = topic
    /\ Run(r, NoRun)
    /\ UNCHANGED <<broker, database, worker, faults, contests>>

----------------------------------------------------------------------------

Init ==
    /\ topic = 1
    /\ live = {}
    /\ committed = Zero
    /\ mark = NoMark
    /\ output = [x \in Places |-> <<>>]
    /\ current = [number |-> 1, log |-> 1, lock |-> "nobody"]
    /\ row = [n \in {1, 2} |-> [p \in Partitions |-> NoRow]]
    /\ ledger = {}
    /\ worker = [w \in Workers |-> Idle]
    /\ run = [r \in Runs |-> NoRun]
    /\ faults = 0 /\ contests = 0

\* The end of a behaviour that is none of a deadlock: all of the new log is answered.
Drained == current.number = 2 /\ \A p \in Partitions : committed[p] = Anew[p]
Done == Drained /\ UNCHANGED variables

Works(w) ==
    \/ Look(w) \/ Lock(w) \/ Fence(w) \/ Claim(w) \/ ClaimFails(w) \/ Again(w)
    \/ Fetch(w) \/ Begin(w) \/ Store(w) \/ Publish(w) \/ Crash(w)
Resets(r) ==
    \/ Locks(r) \/ LocksOut(r) \/ Fences(r) \/ Starts(r) \/ Publishes(r) \/ MarksEarly(r) \/ Finishes(r) \/ Killed(r)
    \/ Refused(r)
Step == (\E w \in Workers : Works(w)) \/ (\E r \in Runs : Resets(r)) \/ MadeAnew

Spec == Init /\ [][Step \/ Done]_variables

----------------------------------------------------------------------------
(* The promises *)

\* What was stored of the former log is published by the time the new one begins, and nothing is stored there later.
NothingLost == current.number = 2 => \A x \in ledger : x[1] = 1 => output[x] # <<>>

\* A reset publishes each answer once, however many runs it takes; once it did, no worker does. (What a worker published
\* and the database does not know, since only the batch behind it would have said so, comes once more: with the topic
\* went the group's offsets.)
PublishedOnce == \A x \in Places : \A i \in DOMAIN output[x] : output[x][i] = "reset" => i = Len(output[x])

\* The offsets of the new log are its own: nothing of it is passed over.
NothingPassedOver == current.number = 2 => \A p \in Partitions :
    committed[p] <= Anew[p] /\ \A o \in 0..committed[p] - 1 : output[<<2, p, o>>] # <<>>

IdsSuffice == Ids \ InUse # {}
Symmetry == Permutations(Workers) \cup Permutations(Runs)
=============================================================================
