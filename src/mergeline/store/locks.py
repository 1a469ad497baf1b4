"""Advisory locks over everything a transaction may touch, taken in one order by everybody.

In: names (`customer:7:1`), which may be shared by readers. Out: locks that end with the transaction, and the time
when the last one was there. Never: a lock taken late, below one that is held; that is how deadlocks are made.

The order is that of the hashed keys, not of the names: two names with one key are one lock. The statement stands by
itself and the transaction is READ COMMITTED, so that every read behind it sees what the last holder committed.
"""

import struct
from collections.abc import Iterable
from datetime import datetime
from hashlib import blake2b
from typing import Final

from mergeline.store.failures import BatchTooLarge
from mergeline.store.statements import Statements

_EMPTY: Final = blake2b(digest_size=8)


def lock_key(name: str) -> int:
    """The key of a name."""
    (key,) = lock_keys([name])
    return key


def lock_keys(names: Iterable[str]) -> tuple[int, ...]:
    """The signed 64-bit key of each name: the first 8 bytes of its BLAKE2b."""
    digests: list[bytes] = []
    for name in names:
        hashed = _EMPTY.copy()  # half the time of one begun anew
        hashed.update(name.encode())
        digests.append(hashed.digest())
    return struct.unpack(f">{len(digests)}q", b"".join(digests))


def catalog_lock(org_id: int) -> str:
    """What a batch shares and `catalog apply` takes alone."""
    return f"catalog:{org_id}"


async def lock(db: Statements, names: Iterable[str], shared: Iterable[str], keys_max: int) -> datetime:
    """Take all locks, `shared` ones with other readers; the time when that was done.

    Raises:
        BatchTooLarge: if there are more than `keys_max` keys; nothing was locked then.
    """
    wanted = dict.fromkeys(lock_keys(shared), True) | dict.fromkeys(lock_keys(names), False)
    if len(wanted) > keys_max:
        raise BatchTooLarge(len(wanted), keys_max)
    keys = sorted(wanted)
    (row,) = await db.fetch("lock", keys, [wanted[key] for key in keys])
    now: datetime = row["now"]
    return now
