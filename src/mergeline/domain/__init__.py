"""The pure core: what a message means, what a request does, what is said about it.

In: values (records as bytes, the state read from the database, a time). Out: values (answers, changes, bytes
to publish). Never: I/O, a clock, a random number, or a module of another room.

The way of a message: `decode` (bytes to command) -> `prepare` (the catalog's word on it) -> `ledger` (was it
seen before?) -> `decide` (what it does) -> `fold` (the state that the next one sees) -> `events` (the bytes).
`batch` is that way for a whole batch; `footprint` is what a batch may touch, and so must lock.
"""
