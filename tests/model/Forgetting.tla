------------------------------ MODULE Forgetting ------------------------------
(* A database that forgets: a standby took over without the last commits, or somebody restored a backup.

   Of ownership and publishing only what it meets; a publish is one step here (Mergeline.tla takes it apart). Any worker
   may take the partition at any time, or sleep. `Broken` names what is done wrong on purpose, or happens beyond what is
   promised. README.md beside this file says which function each action stands for. *)
EXTENDS Integers, Sequences, FiniteSets, TLC

CONSTANTS
    Workers,
    Records,     \* how many there are, in one partition
    BatchMax,    \* records in a batch
    FaultsMax,   \* crashes, failed publishes, unknown commits, together
    ForgetsMax,  \* how often the database goes back to what it was
    ContestsMax, \* how often a worker takes the partition while another one works on it
    IdsMax,      \* transactional ids that something refers to at the same time
    Broken       \* what is done wrong: a set of the names below

ASSUME Broken \subseteq {
    "batch does not compare",
    "acquiring does not compare",
    "what was stored meanwhile not remembered",
    "read behind the claim",
    "halves remember the same",
    "takes the group's word",
    "claims forgotten"} \* the last is no mistake of ours: more is forgotten than can be noticed

VARIABLES
    row,       \* database: the partition's row of partition_owner; without `answered` there is none
    ledger,    \* database: at each offset the number of the decision, 0 for none
    backup,    \* what it may go back to: a row and a ledger that were committed
    live,      \* broker: transactional ids that nobody fenced
    committed, \* broker: the group's offset
    output,    \* broker: at each offset the decisions that a reader has seen, in order
    decisions, \* how many there were at each offset (to tell them apart)
    worker,
    alarm,     \* somebody ended itself, and told an operator
    faults, forgets, contests

database == <<row, ledger>>
broker == <<live, committed, output>>
judged == <<decisions, alarm>>
bounds == <<faults, forgets, contests>>
variables == <<row, ledger, backup, live, committed, output, decisions, worker, alarm, faults, forgets, contests>>

None == -1
NoId == 0
Ids == 1..IdsMax
Offsets == 0..Records - 1
Max(a, b) == IF a > b THEN a ELSE b
Least(S) == CHOOSE x \in S : \A y \in S : x <= y

Unknown == [published |-> 0, answered |-> None]
NoBatch == [start |-> 0, from |-> 0, upto |-> 0, known |-> Unknown, horizon |-> 0, looked |-> FALSE, read |-> {},
            answers |-> <<>>]
Idle == [
    state |-> "idle",     \* wants -> locked -> fenced -> read -> begun -> open
    opened |-> FALSE,     \* acquired at least once: the pipeline runs
    id |-> NoId,
    found |-> [id |-> NoId, published |-> 0, answered |-> None], \* the row, as the claim found it
    reach |-> 0,          \* behind the highest offset that the ledger has an answer for, as read
    acquired |-> 0,       \* the position, as read
    horizon |-> 0,        \* what it goes by: `reach`, once acquired
    progress |-> Unknown, \* what it remembers of the partition
    position |-> 0,       \* of the pipeline
    next |-> 0,           \* the offset to be fetched next
    batch |-> NoBatch,    \* under way to the database
    waiting |-> <<>>]     \* decisions that are to be published, up to `next`, or to where the batch begins

Fault == faults < FaultsMax /\ faults' = faults + 1
Contest == contests < ContestsMax /\ contests' = contests + 1
Others(w) == {v \in Workers \ {w} : worker[v].state # "idle"}
Set(w, new) == worker' = [worker EXCEPT ![w] = new]
InUse == {row.id, backup.row.id} \cup {worker[w].id : w \in Workers} \cup {worker[w].found.id : w \in Workers}
Fresh == Least(Ids \ InUse)
Unlocked == [row EXCEPT !.lock = "nobody"]
Free(w) == IF row.lock = w THEN Unlocked ELSE row

\* The process ends, and is started again with empty hands.
Ends(w) == Set(w, Idle) /\ live' = live \ {worker[w].id} /\ row' = Free(w)
Again(w) == [worker[w] EXCEPT !.state = "wants", !.id = NoId]
TellsOperator(w) ==
    /\ Ends(w)
    /\ alarm' = TRUE
    /\ UNCHANGED <<ledger, backup, committed, output, decisions, bounds>>

----------------------------------------------------------------------------
(* The database *)

\* A copy from which it may come back one day: a standby that gets no further, or a backup.
Copied ==
    /\ forgets < ForgetsMax
    /\ backup' = [row |-> Unlocked, ledger |-> ledger]
    /\ backup' # backup
    /\ UNCHANGED <<database, broker, judged, worker, bounds>>

\* It goes back; every transaction under way fails, since its connection is gone.
Forgets ==
    /\ forgets < ForgetsMax
    /\ forgets' = forgets + 1
    /\ [row |-> Unlocked, ledger |-> ledger] # backup
    /\ row' = backup.row
    /\ ledger' = backup.ledger
    /\ UNCHANGED <<backup, broker, judged, worker, faults, contests>>

----------------------------------------------------------------------------
(* Acquiring *)

Take(w) ==
    /\ worker[w].state = "idle"
    /\ IF Others(w) = {} THEN UNCHANGED contests ELSE Contest
    /\ Set(w, [Idle EXCEPT !.state = "wants"])
    /\ UNCHANGED <<database, backup, broker, judged, faults, forgets>>

\* The group went on without it, and it knows; or it is stopped.
GoQuiet(w) ==
    /\ worker[w].state = "wants"
    /\ Others(w) # {}
    /\ Ends(w)
    /\ UNCHANGED <<ledger, backup, committed, output, judged, bounds>>

\* Behind a release: how far it got, which no batch may say any more. Nobody minds if it does not work.
KeepProgress(w) ==
    LET known == worker[w].progress IN
    /\ worker[w].state = "wants" /\ worker[w].opened
    /\ row.lock = "nobody"
    /\ known.published > row.published
    /\ "batch does not compare" \in Broken \/ known.answered <= row.answered
    /\ row' = [row EXCEPT !.published = known.published, !.answered = Max(@, known.published)]
    /\ UNCHANGED <<ledger, backup, broker, judged, worker, bounds>>

Highest == IF \A o \in Offsets : ledger[o] = 0 THEN 0
           ELSE 1 + CHOOSE o \in Offsets : ledger[o] # 0 /\ \A p \in Offsets : ledger[p] # 0 => p <= o

\* Of a partition that the database has never heard of nothing was answered.
Lock(w) ==
    /\ worker[w].state = "wants"
    /\ row.lock = "nobody"
    /\ IF worker[w].opened /\ Others(w) # {} THEN Contest ELSE UNCHANGED contests
    /\ row' = [row EXCEPT !.lock = w]
    /\ Set(w, [worker[w] EXCEPT !.state = "locked",
           !.found = [id |-> row.id, published |-> row.published,
                      answered |-> IF "takes the group's word" \in Broken THEN row.answered ELSE Max(row.answered, 0)]])
    /\ UNCHANGED <<ledger, backup, broker, judged, faults, forgets>>

\* Where the reading takes place behind the claim, that ends before it, and what is written there is so behind it.
Behind == "read behind the claim" \in Broken
ToRead == IF Behind THEN "claimed" ELSE "fenced"
ToClaim == IF Behind THEN "fenced" ELSE "read"

\* Fences the last owner, then starts with an id of its own.
Fence(w) ==
    /\ worker[w].state = "locked"
    /\ Set(w, [worker[w] EXCEPT !.state = "fenced", !.id = Fresh, !.found.id = NoId])
    /\ live' = (live \ {worker[w].found.id}) \cup {Fresh}
    /\ UNCHANGED <<database, backup, committed, output, judged, bounds>>

\* What it had stored, and the row does not say: it publishes nothing of it, so that no operator has to go back there.
Missing(w) == worker[w].opened /\ worker[w].progress.answered > worker[w].found.answered
FindsMissing(w) == worker[w].state = ToRead /\ Missing(w) /\ TellsOperator(w)

\* The horizon and the group's offset, while nobody else can store anything.
Read(w) ==
    /\ worker[w].state = ToRead
    /\ ~Missing(w)
    /\ Set(w, [worker[w] EXCEPT !.state = "read", !.reach = Highest,
           !.acquired = Max(committed, Max(worker[w].found.published, worker[w].progress.published))])
    /\ UNCHANGED <<database, backup, broker, judged, bounds>>

\* It would go on beyond what the database has answered, and a record lies between.
Gap(w) == "acquiring does not compare" \notin Broken
    /\ worker[w].found.answered # None
    /\ worker[w].acquired > Max(worker[w].found.answered, worker[w].reach)
FindsGap(w) == worker[w].state = "read" /\ Gap(w) /\ TellsOperator(w)

\* Written with where the partition goes on.
Goes(w, r) == [r EXCEPT !.answered = Max(@, worker[w].acquired)]
Claim(w) ==
    LET own == [Unlocked EXCEPT !.id = worker[w].id, !.answered = Max(@, worker[w].found.answered)] IN
    /\ worker[w].state = ToClaim
    /\ row.lock = w
    /\ Behind \/ ~Gap(w)
    /\ row' = IF Behind THEN own ELSE Goes(w, own)
    /\ backup' = IF "claims forgotten" \in Broken THEN backup ELSE [backup EXCEPT !.row.id = row'.id]
    /\ Set(w, [worker[w] EXCEPT !.state = IF Behind THEN "claimed" ELSE "begun"])
    /\ UNCHANGED <<ledger, broker, judged, bounds>>
ClaimFails(w) ==
    /\ worker[w].state \in {"locked", "fenced"} \/ (worker[w].state = "read" /\ ~Behind)
    /\ row.lock # w
    /\ Set(w, [Again(w) EXCEPT !.found = Idle.found, !.reach = 0, !.acquired = 0])
    /\ live' = live \ {worker[w].id}
    /\ UNCHANGED <<database, backup, committed, output, judged, bounds>>

\* Only where that is the mistake: in a transaction of its own.
GoesOnLate(w) ==
    /\ Behind
    /\ worker[w].state = "read"
    /\ row.lock = "nobody"
    /\ ~Gap(w)
    /\ row' = Goes(w, row)
    /\ Set(w, [worker[w] EXCEPT !.state = "begun"])
    /\ UNCHANGED <<ledger, backup, broker, judged, bounds>>

Open(w) ==
    LET now == worker[w]
        there == Max(now.found.answered, now.acquired)
        forgets_own == ~now.opened \/ "what was stored meanwhile not remembered" \in Broken
        remembered == IF forgets_own THEN there ELSE Max(now.progress.answered, there)
    IN
    /\ now.state = "begun"
    /\ Set(w, [now EXCEPT
           !.state = "open", !.opened = TRUE,
           !.progress = [published |-> now.acquired, answered |-> remembered],
           !.position = Max(@, now.acquired),
           !.next = IF now.opened THEN @ ELSE now.acquired,
           !.horizon = now.reach, !.found = Idle.found, !.reach = 0, !.acquired = 0])
    /\ UNCHANGED <<database, backup, broker, judged, bounds>>

----------------------------------------------------------------------------
(* A batch through the database *)

Begin(w) == \E size \in 1..BatchMax :
    LET now == worker[w] IN
    /\ now.opened
    /\ now.batch = NoBatch
    /\ now.next + size <= Records
    /\ Len(now.waiting) <= BatchMax
    /\ Set(w, [now EXCEPT
           !.next = @ + size,
           !.batch = [NoBatch EXCEPT !.start = now.next, !.from = now.next, !.upto = now.next + size,
                                     !.known = now.progress, !.horizon = now.horizon]])
    /\ UNCHANGED <<database, backup, broker, judged, bounds>>

\* A transaction of its own reads the answers that the ledger has by their place, up to the horizon.
Below(batch) == {o \in batch.from..batch.upto - 1 : o < batch.horizon}
ReadAnswered(w) ==
    LET batch == worker[w].batch IN
    /\ ~batch.looked
    /\ Below(batch) # {}
    /\ Set(w, [worker[w] EXCEPT !.batch.looked = TRUE,
           !.batch.read = {<<o, ledger[o]>> : o \in {p \in Below(batch) : ledger[p] # 0}}])
    /\ UNCHANGED <<database, backup, broker, judged, bounds>>

AnswerAt(batch, o) ==
    IF \E x \in batch.read : x[1] = o THEN (CHOOSE x \in batch.read : x[1] = o)[2]
    ELSE IF ledger[o] # 0 THEN ledger[o] ELSE decisions[o] + 1

\* One transaction decides the rest of a batch, or its first half where the whole was too much.
Apply(w, upto, known) ==
    LET batch == worker[w].batch
        part == batch.from..upto - 1
        left == {o \in part : \A x \in batch.read : x[1] # o}
        reached == Max(IF left = {} THEN 0 ELSE upto, batch.known.published) IN
    /\ Below(batch) # {} => batch.looked
    /\ row.lock = "nobody"
    /\ "batch does not compare" \in Broken \/ batch.known.answered <= row.answered
    /\ ledger' = [o \in Offsets |-> IF o \in left THEN AnswerAt(batch, o) ELSE ledger[o]]
    /\ decisions' = [o \in Offsets |-> IF o \in left /\ ledger[o] = 0 THEN decisions[o] + 1 ELSE decisions[o]]
    /\ row' = [row EXCEPT !.published = Max(@, batch.known.published), !.answered = Max(@, reached)]
    /\ IF ~known THEN Set(w, [worker[w] EXCEPT !.batch.looked = FALSE, !.batch.read = {}])
       ELSE Set(w, [worker[w] EXCEPT
           !.batch.from = upto, !.batch.looked = FALSE, !.batch.read = {},
           !.batch.answers = @ \o [i \in 1..upto - batch.from |-> AnswerAt(batch, batch.from + i - 1)],
           !.batch.known.answered = IF "halves remember the same" \in Broken THEN @ ELSE Max(@, reached)])
    /\ UNCHANGED <<backup, broker, alarm, forgets, contests>>
Parts(w) == worker[w].batch.from + 1..worker[w].batch.upto
Commits(w) == \E upto \in Parts(w) : Apply(w, upto, TRUE) /\ UNCHANGED faults
CommitsUnknown(w) == Fault /\ \E upto \in Parts(w) : Apply(w, upto, FALSE)

\* The database knows of less than it has stored.
FindsForgotten(w) ==
    /\ worker[w].batch.from < worker[w].batch.upto
    /\ row.lock = "nobody"
    /\ "batch does not compare" \notin Broken /\ worker[w].batch.known.answered > row.answered
    /\ TellsOperator(w)

\* The worker hears of it, and remembers. (What was in the ledger before is not its own to remember.)
Finish(w) ==
    LET now == worker[w] IN
    /\ now.batch # NoBatch /\ now.batch.from = now.batch.upto
    /\ Set(w, [now EXCEPT
           !.batch = NoBatch,
           !.waiting = @ \o now.batch.answers,
           !.progress.answered = IF now.batch.upto > now.horizon THEN now.batch.upto ELSE @])
    /\ UNCHANGED <<database, backup, broker, judged, bounds>>

----------------------------------------------------------------------------
(* Publishing *)

Ready(w) == IF worker[w].batch = NoBatch THEN worker[w].next ELSE worker[w].batch.start
First(w) == Ready(w) - Len(worker[w].waiting)
Published(w) == [o \in Offsets |->
    IF First(w) <= o /\ o < Ready(w) /\ o >= worker[w].position
    THEN Append(output[o], worker[w].waiting[o - First(w) + 1]) ELSE output[o]]

\* What was processed meanwhile, cut at the position: one transaction with its offsets, if nobody has fenced its id.
Publish(w) ==
    /\ worker[w].state = "open"
    /\ worker[w].waiting # <<>>
    /\ IF Ready(w) <= worker[w].position
       THEN /\ Set(w, [worker[w] EXCEPT !.waiting = <<>>])
            /\ UNCHANGED <<live, committed, output>>
       ELSE IF worker[w].id \in live
       THEN /\ output' = Published(w)
            /\ committed' = Ready(w)
            /\ Set(w, [worker[w] EXCEPT !.waiting = <<>>, !.position = Ready(w), !.progress.published = Ready(w)])
            /\ UNCHANGED live
       ELSE Set(w, Again(w)) /\ UNCHANGED <<live, committed, output>>
    /\ UNCHANGED <<database, backup, judged, bounds>>

\* It took effect, or not; the answer is lost, and the producer killed.
PublishFails(w) ==
    /\ Fault
    /\ worker[w].state = "open"
    /\ worker[w].waiting # <<>>
    /\ Ready(w) > worker[w].position
    /\ worker[w].id \in live
    /\ \/ output' = Published(w) /\ committed' = Ready(w)
       \/ UNCHANGED <<output, committed>>
    /\ live' = live \ {worker[w].id}
    /\ Set(w, Again(w))
    /\ UNCHANGED <<database, backup, judged, forgets, contests>>

Crash(w) ==
    /\ Fault
    /\ worker[w].state # "idle"
    /\ Ends(w)
    /\ UNCHANGED <<ledger, backup, committed, output, judged, forgets, contests>>

----------------------------------------------------------------------------

Init ==
    /\ row = [id |-> NoId, published |-> 0, answered |-> None, lock |-> "nobody"]
    /\ ledger = [o \in Offsets |-> 0]
    /\ backup = [row |-> row, ledger |-> ledger]
    /\ live = {}
    /\ committed = 0
    /\ output = [o \in Offsets |-> <<>>]
    /\ decisions = [o \in Offsets |-> 0]
    /\ worker = [w \in Workers |-> Idle]
    /\ alarm = FALSE
    /\ faults = 0 /\ forgets = 0 /\ contests = 0

\* Ends of behaviours that are none of a deadlock: all is published, or an operator was told.
Done == (committed = Records \/ alarm) /\ UNCHANGED variables

Acquire(w) ==
    \/ Take(w) \/ GoQuiet(w) \/ KeepProgress(w) \/ Lock(w) \/ Fence(w) \/ Claim(w) \/ ClaimFails(w)
    \/ FindsMissing(w) \/ Read(w) \/ GoesOnLate(w) \/ FindsGap(w) \/ Open(w)
Process(w) ==
    \/ Begin(w) \/ ReadAnswered(w) \/ Commits(w) \/ CommitsUnknown(w) \/ FindsForgotten(w) \/ Finish(w)
    \/ Publish(w) \/ PublishFails(w) \/ Crash(w)
Step == (\E w \in Workers : Acquire(w) \/ Process(w)) \/ Copied \/ Forgets

Spec == Init /\ [][Step \/ Done]_variables

----------------------------------------------------------------------------
(* The promises *)

\* What the database says is answered, it has the answers to: nobody goes on over what it has forgotten.
AnsweredIsThere == \A o \in Offsets : o < row.answered => ledger[o] # 0

\* Published once, whatever was forgotten: what comes next has to ask an operator.
PublishedOnce == \A o \in Offsets : Len(output[o]) <= 1

\* What a reader has seen is what the database has, if it has anything.
PublishedAsStored == \A o \in Offsets : \A i \in DOMAIN output[o] : ledger[o] \in {0, output[o][i]}

NothingLost == \A o \in Offsets : o < committed => output[o] # <<>>

\* Where nothing was forgotten, nobody says that it was.
NoFalseAlarm == forgets = 0 => ~alarm

IdsSuffice == Ids \ InUse # {}
Symmetry == Permutations(Workers)
=============================================================================
