"""A TCP proxy that misbehaves on demand: what a network can do to the connections between a worker and a server.

In: a listening address, a server's address, a fault to begin and to heal. Out: bytes, late, few or none. Never: a
stream with a hole in it, which no TCP would deliver: a connection that has lost a byte stays silent for good, also
after healing, as one does whose way through a firewall was forgotten.
"""

import asyncio
import contextlib
import random
import socket
import struct
from dataclasses import dataclass
from enum import Enum

CHUNK_BYTES = 1 << 16
LEAST_BYTES = 1
TO_SERVER, TO_CLIENT = "to server", "to client"
RESETS_EVERY_S = (0.05, 0.5)
LINGER_S = (0.2, 4.0)
"""How late what a client sent before its slow close reaches the server."""
FORGOTTEN_S = (5.0, 11.0)
"""When a server gives up a dead connection, as by TCP's keep-alive (which ends here); the client is never told."""


class Kind(Enum):
    """What a fault does to the connections that are open, and to those that are opened while it lasts."""

    DELAY = "delay"
    """Each piece arrives late."""
    THROTTLE = "throttle"
    """So many bytes a second, and no more."""
    CUT = "cut"
    """Bytes vanish in both directions; connections stay, and new ones are accepted and silent."""
    GONE = "gone"
    """Nothing is read any more, as where a host is gone: what is sent stays with whoever sent it."""
    DEAF = "deaf"
    """Requests arrive and are carried out; answers vanish."""
    RESET = "reset"
    """Connections are reset, again and again."""
    HALF_CLOSE = "half-close"
    """One direction is closed, the other goes on."""
    SLOW_CLOSE = "slow-close"
    """The client sees its connection closed; what it had sent reaches the server late, the close later still."""
    REFUSE = "refuse"
    """Connections are closed, and new ones refused."""


@dataclass(frozen=True)
class Fault:
    """A kind of fault and its measure."""

    kind: Kind
    delay_s: float = 0.1
    bytes_per_s: int = 4_000
    only: tuple[int, ...] = ()
    """Of Kafka: nothing but connections that have carried a request with one of these API keys."""


class Link:
    """One connection through the proxy."""

    def __init__(self, proxy, client, server):
        self._proxy, self._client, self._server = proxy, client, server
        self.dead = False
        self._requests = set()
        self._late = None
        self._gone = asyncio.Event()

    async def run(self):
        """Pass bytes on in both directions until both are closed."""
        forth = asyncio.create_task(self._pump(self._client[0], self._server[1], TO_SERVER))
        back = asyncio.create_task(self._pump(self._server[0], self._client[1], TO_CLIENT))
        try:
            await asyncio.wait([forth, back])
        finally:
            for task in (forth, back):
                task.cancel()
            await asyncio.gather(forth, back, return_exceptions=True)
            self.abort()

    def abort(self):
        """Reset both ends."""
        for _, writer in (self._client, self._server):
            with contextlib.suppress(OSError):
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()

    def half_close(self):
        """Close one direction, chosen by the dice."""
        _, writer = self._proxy.dice.choice([self._client, self._server])
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()

    def close_slowly(self):
        """Hold what the client says from now on, close its end soon, and let the server have it much later."""
        if self._late is None:
            self._late = bytearray()
            self._proxy.spawn(self._linger())

    async def _linger(self):
        dice = self._proxy.dice
        await asyncio.sleep(dice.uniform(0.02, 0.2))
        self._client[1].close()
        await asyncio.sleep(dice.uniform(*LINGER_S))
        with contextlib.suppress(OSError, RuntimeError):
            self._server[1].write(bytes(self._late))
            await self._server[1].drain()
            await asyncio.sleep(dice.uniform(0, 0.2))
            self._server[1].write_eof()

    async def _forget(self):
        await asyncio.sleep(self._proxy.dice.uniform(*FORGOTTEN_S))
        self._server[1].close()

    async def _pump(self, reader, writer, direction):
        with contextlib.suppress(OSError, RuntimeError):
            while data := await self._read(reader):
                if direction is TO_SERVER:
                    self._requests.add(int.from_bytes(data[4:6], "big"))
                if self._late is not None:
                    if direction is TO_SERVER:
                        self._late += data
                elif not self._lost(data, direction):
                    await self._pass_on(data, writer)
            if not self.dead and self._late is None:
                writer.write_eof()
                return
        if self.dead:
            await asyncio.Event().wait()  # a close is lost like any other word

    async def _read(self, reader):
        data = await reader.read(CHUNK_BYTES)
        if self._proxy.kind is Kind.GONE:
            self._die()
            await asyncio.Event().wait()
        return data

    def _die(self):
        if not self.dead:
            self._proxy.spawn(self._forget())
        self.dead = True

    def takes_in(self, size):
        """Have the kernel take in so many bytes that nobody has read, as near as it comes to that."""
        for _, writer in (self._client, self._server):
            with contextlib.suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)

    def _lost(self, data, direction):
        fault = self._proxy.fault
        if fault is not None and fault.only and self._requests.isdisjoint(fault.only):
            return self.dead
        kind = self._proxy.kind
        if kind is Kind.CUT or (kind is Kind.DEAF and direction is TO_CLIENT):
            self._die()
        return self.dead and (kind is not Kind.DEAF or direction is TO_CLIENT)

    async def _pass_on(self, data, writer):
        fault = self._proxy.fault
        if fault is not None and fault.kind is Kind.DELAY:
            await self._proxy.healed_within(self._proxy.dice.uniform(0, fault.delay_s))
        while self._proxy.kind is Kind.THROTTLE and data:
            piece, data = data[: max(1, fault.bytes_per_s // 20)], data[max(1, fault.bytes_per_s // 20) :]
            writer.write(piece)
            await self._proxy.healed_within(0.05)
        writer.write(data)
        await writer.drain()


class Proxy:
    """Passes connections on to a server; one fault at a time, on all of them."""

    def __init__(self, name, port, target="", dice=None):
        self.name, self.address = name, f"127.0.0.1:{port}"
        self.target = target
        self.dice = dice or random.Random(0)
        self.fault = None
        self.links = set()
        self._tasks = set()
        self._healed = asyncio.Event()
        self._server = None
        self._port = port

    @property
    def kind(self):
        return self.fault.kind if self.fault else None

    async def open(self):
        """Listen; tries for a while where the port is not free yet."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, reuse_address=True, backlog=500)

    async def close(self):
        """End everything."""
        self.fault = None
        self._stop_listening()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aenter__(self):
        await self.open()
        return self

    async def __aexit__(self, *_):
        await self.close()

    def begin(self, fault):
        """Let a fault begin."""
        self.fault = fault
        self._healed.clear()
        match fault.kind:
            case Kind.GONE:
                for link in list(self.links):
                    link.takes_in(LEAST_BYTES)
            case Kind.RESET:
                self.spawn(self._reset_again_and_again(fault))
            case Kind.REFUSE:
                self._stop_listening()
                for link in list(self.links):
                    link.abort()
            case Kind.HALF_CLOSE:
                for link in list(self.links):
                    link.half_close()
            case Kind.SLOW_CLOSE:
                for link in list(self.links):
                    link.close_slowly()

    async def heal(self):
        """End the fault; connections that lost something stay dead."""
        if self.kind is Kind.GONE:
            for link in list(self.links):
                link.takes_in(CHUNK_BYTES)
        self.fault = None
        self._healed.set()
        if self._server is None:
            await self.open()

    async def healed_within(self, seconds):
        """Sleep so long, or until the fault is healed."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._healed.wait(), seconds)

    def spawn(self, work):
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _stop_listening(self):
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _reset_again_and_again(self, fault):
        while self.fault is fault:
            for link in list(self.links):
                link.abort()
            await self.healed_within(self.dice.uniform(*RESETS_EVERY_S))

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        host, _, port = self.target.rpartition(":")
        try:
            server = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            self._tasks.discard(task)
            return
        link = Link(self, (reader, writer), server)
        self.links.add(link)
        try:
            if self.kind is Kind.HALF_CLOSE:
                link.half_close()
            elif self.kind is Kind.SLOW_CLOSE:
                link.close_slowly()
            await link.run()
        except asyncio.CancelledError:
            link.abort()
        finally:
            self.links.discard(link)
            self._tasks.discard(task)
