"""The pure core: what a message means, what a request does, what is said about it.

In: values (records as bytes, the state read from the database, a time). Out: values (answers, changes, bytes
to publish). Never: I/O, a clock, a random number, or a module of another room.

    vocabulary, messages, commands, answers, limits   the words and values that all of this speaks in
    decode (json_text, plain, requests)               bytes to a command, or the reason of a dead letter
    prepare (catalog, values)                         the catalog's word on it
    ledger                                            was it seen before?
    decide (identifiers, cards)                       what it does
    state                                             ... folded in, so that the next one sees it
    events                                            ... as the bytes to publish
    batch                                             that way for a whole batch
    footprint                                         what a batch may touch, and so must lock
    keys, routing                                     the key of a message, and how it is read from one
    incarnations                                      the name of a topic's log
    dead_letters, redrive, replay                     in a row; back to where they came from; stored events in order
"""
