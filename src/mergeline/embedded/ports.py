"""Free ports, and what servers say on them.

In: how many, or an address. Out: port numbers; whether the server there answers in its own protocol. Never: a
port that the system gives to outgoing connections, or one that somebody was given a moment ago.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
from collections import deque

from mergeline.embedded.errors import EmbeddedError

HOST = "127.0.0.1"
PORTS = range(20_000, 32_000)
"""Below what Linux (32768) and macOS (49152) give to outgoing connections. A server that is killed and started again
needs its port back; a client that keeps on trying to reach it could otherwise be given that very port for its own end,
would then be connected to itself, and hold it."""
TRIES_MAX = 200
CLAIMS_MAX = 64
PROBE_TIMEOUT_S = 2.0

_SIZE = struct.Struct(">i")
_POSTGRES_PROTOCOL_3 = 3 << 16
_KAFKA_METADATA = 3
_KAFKA_METADATA_VERSION = 4
_claims: deque[int] = deque()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, and that nobody else is given here before a server of ours is up."""
    ports: list[int] = []
    for port in random.sample(PORTS, min(TRIES_MAX, len(PORTS))):
        if len(ports) == count:
            break
        if _is_free(port) and _claim(port):
            ports.append(port)
    if len(ports) < count:
        raise EmbeddedError(f"no {count} free ports between {PORTS.start} and {PORTS.stop}")
    return ports


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            listener.bind((HOST, port))
            return True
    return False


def _claim(port: int) -> bool:
    """Take the port of the same number that the server does not need, UDP's: it tells whoever chooses meanwhile.

    Between a choice and its server lie seconds. The newest `CLAIMS_MAX` are kept, until this process ends.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as claim:
        try:
            claim.bind((HOST, port))
        except OSError:
            return False
        _claims.append(claim.detach())
    while len(_claims) > CLAIMS_MAX:
        os.close(_claims.popleft())
    return True


def kafka_answers(port: int, host: str = HOST) -> bool:
    """Whether the broker says that it is part of its cluster: it opens its port before that."""
    client = b"mergeline"
    header = struct.pack(">hhih", _KAFKA_METADATA, _KAFKA_METADATA_VERSION, 1, len(client)) + client
    no_topics_no_creation = struct.pack(">ib", 0, 0)
    request = header + no_topics_no_creation
    try:
        with socket.create_connection((host, port), PROBE_TIMEOUT_S) as connection:
            connection.sendall(_SIZE.pack(len(request)) + request)
            answer = connection.makefile("rb").read(_SIZE.size * 4)
    except OSError:
        return False
    if len(answer) < _SIZE.size * 4:
        return False
    _size, _correlation, _throttle_ms, brokers = struct.unpack(">iiii", answer)
    return bool(brokers > 0)


def postgres_answers(port: int, host: str = HOST) -> bool:
    """Whether PostgreSQL asks who we are: while it starts or recovers it answers with an error instead."""
    parameters = b"user\0postgres\0database\0postgres\0\0"
    startup = struct.pack(">i", _POSTGRES_PROTOCOL_3) + parameters
    try:
        with socket.create_connection((host, port), PROBE_TIMEOUT_S) as connection:
            connection.sendall(_SIZE.pack(len(startup) + _SIZE.size) + startup)
            return connection.recv(1) == b"R"
    except OSError:
        return False
