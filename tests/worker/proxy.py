"""A TCP relay between a client and a server: it can listen late, hold what goes to the server, and fall silent."""

import asyncio
import contextlib
import socket


class Relay:
    """Passes bytes on from `open` to `close`.

    With `holds`, every length-prefixed message to the server (as Kafka's are) is shown to it first; one for which it
    answers True waits, and all behind it on that connection, until `let_go` is set.

    With `mutes`, whatever goes to the server is shown to it; once it answers True nothing goes either way any more on
    that connection, which stays open.
    """

    def __init__(self, target, holds=None, mutes=None):
        self.target, self._holds, self.mutes = target, holds, mutes
        self.let_go = asyncio.Event()
        self.held = asyncio.Event()
        self._tasks = set()
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))  # bound, so that nobody else takes the port; it does not listen yet
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = None

    async def open(self):
        self._server = await asyncio.start_server(self._serve, sock=self._socket)

    async def close(self):
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            self._server.close()
        self._socket.close()

    async def __aenter__(self):
        await self.open()
        return self

    async def __aexit__(self, *_):
        await self.close()

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        host, _, port = self.target.rpartition(":")
        upstream, to_server = await asyncio.open_connection(host, int(port))
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                forth = asyncio.create_task(self._forth(reader, to_server))
                back = asyncio.create_task(_bytes(upstream, writer))
                self._tasks |= {forth, back}
                await back
        finally:
            writer.close()

    async def _forth(self, reader, writer):
        if self._holds:
            await self._messages(reader, writer)
        elif self.mutes:
            await self._until_mute(reader, writer)
        else:
            await _bytes(reader, writer)

    async def _until_mute(self, reader, writer):
        while data := await reader.read(1 << 16):
            if not self.mutes(data):
                writer.write(data)
                continue
            self.held.set()
            await asyncio.Event().wait()

    async def _messages(self, reader, writer):
        # What is held is passed on even if its client has hung up meanwhile: a packet that is late.
        while True:
            head = await reader.readexactly(4)
            body = await reader.readexactly(int.from_bytes(head, "big"))
            if self._holds(body):
                self.held.set()
                await self.let_go.wait()
            writer.write(head + body)
            await writer.drain()


async def _bytes(reader, writer):
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
