------------------------------- MODULE Handover -------------------------------
(* Workers that answer a public topic directly, and workers that route it: from the ones to the others and back.

   Of ownership and publishing only what a handover meets; a publish is one step here (Mergeline.tla takes it apart), and
   so is what `apply` does on the internal topic. Whoever sleeps takes no step. README.md beside this file says which
   function each action stands for. *)
EXTENDS Integers, Sequences, FiniteSets, TLC

CONSTANTS
    Keyed,      \* workers with MERGELINE_REQUESTS_KEYED=true
    Routers,    \* and without
    Records,    \* of one partition of a public topic
    StartsMax,  \* how often a worker is started, or started again
    FaultsMax,  \* crashes
    Overlap,    \* whether workers are started while those of the other mode are not known to have ended
    IdsMax,     \* transactional ids that something refers to at the same time
    Broken      \* what is done wrong: a set of the names below

ASSUME Broken \subseteq {
    "router does not take over",
    "not asked what is published",
    "not disowned",
    "begun behind the claim",
    "confirmed before it locks",
    "guard reads before it waits",
    "not asked whether it is drained"}

VARIABLES
    live,      \* broker: transactional ids that nobody fenced
    committed, \* broker: the group's offset of the public topic
    member,    \* broker: whom the group gave the partition last; it takes a router's commit from nobody else
    internal,  \* broker: the internal topic: of which record each is
    done,      \* broker: the group's offset there
    output,    \* broker: how often a record's answer was published
    row,       \* database: the row of partition_owner of the public topic
    ledger,    \* database: where a record was answered: Nowhere, There, or its place on the internal topic
    order,     \* the records in the order in which they were decided (to judge by)
    worker,
    starts, faults

broker == <<live, committed, member, internal, done, output>>
database == <<row, ledger, order>>
bounds == <<starts, faults>>
variables == <<live, committed, member, internal, done, output, row, ledger, order, worker, starts, faults>>

Workers == Keyed \cup Routers
Offsets == 0..Records - 1
Ids == 1..IdsMax
NoId == 0
None == -1
Nowhere == 0
There == -1 \* where its producer put it
Max(a, b) == IF a > b THEN a ELSE b
Least(S) == CHOOSE x \in S : \A y \in S : x <= y

Idle == [
    state |-> "idle",  \* started -> asked -> locked -> fenced -> read -> open
    id |-> NoId,
    found |-> [id |-> NoId, published |-> 0, answered |-> None],
    position |-> 0,    \* where it goes on; of a keyed worker, how far it has published
    answered |-> 0,    \* what a keyed one remembers to be stored
    next |-> 0,        \* the offset to be fetched next
    waits |-> None,    \* the record that is on its way to the database,
    seen |-> None]     \* with the `answered_offset` that it saw

Set(w, new) == worker' = [worker EXCEPT ![w] = new]
Fault == faults < FaultsMax /\ faults' = faults + 1
Free(w) == IF row.lock = w THEN [row EXCEPT !.lock = "nobody"] ELSE row
Ends(w) == Set(w, Idle) /\ live' = live \ {worker[w].id} /\ row' = Free(w)
Again(w) == Ends(w) /\ UNCHANGED <<committed, member, internal, done, output, ledger, order, bounds>>
InUse == {row.id} \cup {worker[w].id : w \in Workers} \cup {worker[w].found.id : w \in Workers}
Fresh == Least(Ids \ InUse)
Behind == "begun behind the claim" \in Broken
Highest == IF \A o \in Offsets : ledger[o] # There THEN 0
           ELSE 1 + CHOOSE o \in Offsets : ledger[o] = There /\ \A p \in Offsets : ledger[p] = There => p <= o

----------------------------------------------------------------------------
(* Both *)

Others(w) == IF w \in Keyed THEN Routers ELSE Keyed
Start(w) ==
    /\ worker[w].state = "idle"
    /\ starts < StartsMax
    /\ starts' = starts + 1
    /\ Overlap \/ \A v \in Others(w) : worker[v].state = "idle"
    /\ w \in Keyed => "not asked whether it is drained" \in Broken \/ done = Len(internal) \* else it refuses to
    /\ Set(w, [Idle EXCEPT !.state = "started"])
    /\ UNCHANGED <<broker, database, faults>>

\* The group gives it the partition; before it fences anybody, it has the group confirm that.
Ask(w) ==
    /\ worker[w].state = "started"
    /\ member' = w
    /\ Set(w, [worker[w] EXCEPT !.state = IF w \in Routers /\ "router does not take over" \in Broken
                                          THEN "disowned" ELSE "asked"])
    /\ UNCHANGED <<live, committed, internal, done, output, database, bounds>>

Lock(w) ==
    /\ worker[w].state = "asked"
    /\ row.lock = "nobody"
    /\ row' = [row EXCEPT !.lock = w]
    /\ Set(w, [worker[w] EXCEPT !.state = "locked",
           !.found = [id |-> row.id, published |-> row.published, answered |-> row.answered]])
    /\ UNCHANGED <<broker, ledger, order, bounds>>

Confirmed(w) == "confirmed before it locks" \in Broken \/ member = w
Refused(w) == worker[w].state = "locked" /\ ~Confirmed(w) /\ Again(w)

Crash(w) ==
    /\ Fault
    /\ worker[w].state # "idle"
    /\ Ends(w)
    /\ UNCHANGED <<committed, member, internal, done, output, ledger, order, starts>>

----------------------------------------------------------------------------
(* A keyed worker *)

Fence(w) ==
    /\ w \in Keyed
    /\ worker[w].state = "locked"
    /\ Confirmed(w)
    /\ live' = (live \ {worker[w].found.id}) \cup {Fresh}
    /\ Set(w, [worker[w] EXCEPT !.state = "fenced", !.id = Fresh])
    /\ UNCHANGED <<committed, member, internal, done, output, database, bounds>>

\* Reads where it goes on, and claims, with where it begins. (Where that is the mistake: claims, reads, and begins.)
Position(w) == Max(committed, worker[w].found.published)
Begun(w, r) == IF r.answered = None /\ worker[w].found.answered = None
               THEN [r EXCEPT !.answered = worker[w].position] ELSE r
Read(w) ==
    /\ w \in Keyed
    /\ worker[w].state = IF Behind THEN "claimed" ELSE "fenced"
    /\ Set(w, [worker[w] EXCEPT !.state = "read", !.position = Position(w)])
    /\ UNCHANGED <<broker, database, bounds>>
ClaimEarly(w) ==
    /\ Behind
    /\ w \in Keyed
    /\ worker[w].state = "fenced"
    /\ row' = [row EXCEPT !.id = worker[w].id, !.lock = "nobody"]
    /\ Set(w, [worker[w] EXCEPT !.state = "claimed"])
    /\ UNCHANGED <<broker, ledger, order, bounds>>
Claim(w) ==
    LET now == worker[w]
        answered == IF now.found.answered = None THEN now.position ELSE now.found.answered IN
    /\ w \in Keyed
    /\ now.state = "read"
    /\ row.lock = IF Behind THEN "nobody" ELSE w
    /\ row' = Begun(w, [row EXCEPT !.id = IF Behind THEN @ ELSE now.id, !.lock = "nobody"])
    /\ Set(w, [now EXCEPT !.state = "open", !.answered = answered, !.next = now.position, !.found = Idle.found])
    /\ UNCHANGED <<broker, ledger, order, bounds>>

Begin(w) ==
    /\ w \in Keyed
    /\ worker[w].state = "open"
    /\ worker[w].waits = None
    /\ worker[w].next < Records
    /\ Set(w, [worker[w] EXCEPT !.waits = worker[w].next, !.seen = row.answered])
    /\ UNCHANGED <<broker, database, bounds>>

\* Decided, or known: answered there before, or where a router put it, which has it dropped here.
Store(w) ==
    LET now == worker[w]
        o == now.waits
        seen == IF "guard reads before it waits" \in Broken THEN now.seen ELSE row.answered IN
    /\ now.waits # None
    /\ row.lock = "nobody"
    /\ IF now.answered <= seen
       THEN /\ ledger' = IF ledger[o] = Nowhere THEN [ledger EXCEPT ![o] = There] ELSE ledger
            /\ order' = IF ledger[o] = Nowhere THEN Append(order, o) ELSE order
            /\ row' = [row EXCEPT !.published = Max(@, now.position), !.answered = Max(@, o + 1)]
            /\ Set(w, [now EXCEPT !.waits = None, !.seen = None, !.next = o + 1, !.answered = Max(@, o + 1)])
            /\ UNCHANGED live
       ELSE Ends(w) /\ UNCHANGED <<ledger, order>>
    /\ UNCHANGED <<committed, member, internal, done, output, bounds>>

\* What is stored, with its offset, in one transaction. Fenced, it goes quiet.
Publish(w) ==
    LET now == worker[w] IN
    /\ w \in Keyed
    /\ now.state = "open"
    /\ now.position < now.next
    /\ IF now.id \in live
       THEN /\ output' = [o \in Offsets |-> IF now.position <= o /\ o < now.next /\ ledger[o] = There
                                            THEN output[o] + 1 ELSE output[o]]
            /\ committed' = now.next
            /\ Set(w, [now EXCEPT !.position = now.next])
            /\ UNCHANGED <<live, row>>
       ELSE Ends(w) /\ UNCHANGED <<output, committed>>
    /\ UNCHANGED <<member, internal, done, ledger, order, bounds>>

----------------------------------------------------------------------------
(* A router *)

\* Nobody answered there, as far as the row says.
FindsNobody(w) ==
    /\ w \in Routers
    /\ worker[w].state = "locked"
    /\ Confirmed(w)
    /\ worker[w].found.answered = None
    /\ row' = Free(w)
    /\ Set(w, [worker[w] EXCEPT !.state = "disowned", !.found = Idle.found])
    /\ UNCHANGED <<broker, ledger, order, bounds>>

\* Whoever answered is locked out,
LocksOut(w) ==
    /\ w \in Routers
    /\ worker[w].state = "locked"
    /\ Confirmed(w)
    /\ worker[w].found.answered # None
    /\ live' = live \ {worker[w].found.id}
    /\ Set(w, [worker[w] EXCEPT !.state = "fenced"])
    /\ UNCHANGED <<committed, member, internal, done, output, database, bounds>>

\* and what it has stored must be published;
Unpublished(w) == "not asked what is published" \notin Broken /\ Highest > Position(w)
Refuses(w) == w \in Routers /\ worker[w].state = "fenced" /\ Unpublished(w) /\ Again(w)

\* then nobody is to answer there any more.
Disowns(w) ==
    /\ w \in Routers
    /\ worker[w].state = "fenced"
    /\ ~Unpublished(w)
    /\ row' = IF "not disowned" \in Broken THEN Free(w)
              ELSE [id |-> NoId, published |-> Position(w), answered |-> None, lock |-> "nobody"]
    /\ Set(w, [worker[w] EXCEPT !.state = "disowned", !.found = Idle.found])
    /\ UNCHANGED <<broker, ledger, order, bounds>>

OpenRouter(w) ==
    /\ worker[w].state = "disowned"
    /\ Set(w, [worker[w] EXCEPT !.state = "open", !.position = committed, !.next = committed])
    /\ UNCHANGED <<broker, database, bounds>>

\* Acknowledged; the offset follows.
Route(w) ==
    /\ w \in Routers
    /\ worker[w].state = "open"
    /\ worker[w].next < Records
    /\ internal' = Append(internal, worker[w].next)
    /\ Set(w, [worker[w] EXCEPT !.next = @ + 1])
    /\ UNCHANGED <<live, committed, member, done, output, database, bounds>>
Trail(w) ==
    /\ w \in Routers
    /\ worker[w].state = "open"
    /\ worker[w].position < worker[w].next
    /\ IF member = w
       THEN committed' = worker[w].next /\ Set(w, [worker[w] EXCEPT !.position = worker[w].next]) /\ UNCHANGED row
       ELSE Ends(w) /\ UNCHANGED committed
    /\ IF member = w THEN UNCHANGED live ELSE TRUE
    /\ UNCHANGED <<member, internal, done, output, ledger, order, bounds>>

\* On the internal topic: decided, unless it is known,
Applies ==
    /\ done < Len(internal)
    /\ LET o == internal[done + 1] IN
       /\ ledger[o] = Nowhere
       /\ ledger' = [ledger EXCEPT ![o] = done + 1]
       /\ order' = Append(order, o)
    /\ UNCHANGED <<broker, row, worker, bounds>>

\* and published; what was answered elsewhere is dropped.
AppliesAndPublishes ==
    /\ done < Len(internal)
    /\ LET o == internal[done + 1] IN
       /\ ledger[o] # Nowhere
       /\ output' = IF ledger[o] = done + 1 THEN [output EXCEPT ![o] = @ + 1] ELSE output
    /\ done' = done + 1
    /\ UNCHANGED <<live, committed, member, internal, database, worker, bounds>>

----------------------------------------------------------------------------

Init ==
    /\ live = {}
    /\ committed = 0
    /\ member = "nobody"
    /\ internal = <<>>
    /\ done = 0
    /\ output = [o \in Offsets |-> 0]
    /\ row = [id |-> NoId, published |-> 0, answered |-> None, lock |-> "nobody"]
    /\ ledger = [o \in Offsets |-> Nowhere]
    /\ order = <<>>
    /\ worker = [w \in Workers |-> Idle]
    /\ starts = 0 /\ faults = 0

\* Ends of behaviours that are none of a deadlock: all is published, or nobody is started any more.
Done == (starts = StartsMax \/ (committed = Records /\ done = Len(internal))) /\ UNCHANGED variables

Works(w) ==
    \/ Start(w) \/ Ask(w) \/ Lock(w) \/ Refused(w) \/ Crash(w)
    \/ Fence(w) \/ Read(w) \/ ClaimEarly(w) \/ Claim(w) \/ Begin(w) \/ Store(w) \/ Publish(w)
    \/ FindsNobody(w) \/ LocksOut(w) \/ Refuses(w) \/ Disowns(w) \/ OpenRouter(w) \/ Route(w) \/ Trail(w)
Step == (\E w \in Workers : Works(w)) \/ Applies \/ AppliesAndPublishes

Spec == Init /\ [][Step \/ Done]_variables

----------------------------------------------------------------------------
(* The promises *)

\* What the group counts as done is published, or stands on the internal topic, where it will not be dropped.
Waits(o) == \E i \in done + 1..Len(internal) : internal[i] = o
NothingLost == \A o \in Offsets : o < committed => output[o] > 0 \/ (Waits(o) /\ (ledger[o] = Nowhere \/ ledger[o] > done))

PublishedOnce == \A o \in Offsets : output[o] <= 1

\* Where the ones have ended before the others start, requests are decided in the order of their records.
InOrder == \A i, j \in DOMAIN order : i < j => order[i] < order[j]

IdsSuffice == Ids \ InUse # {}
Symmetry == Permutations(Keyed) \cup Permutations(Routers)
=============================================================================
