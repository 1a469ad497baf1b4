"""Connections that are reset under a statement or a request, on the loop of production."""

import asyncio

import aiokafka.conn
import pytest
import uvloop
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

import mergeline.stream.clients  # noqa: F401 - mends aiokafka's connection
from mergeline.store.failures import Kind, kind_of


async def closed_under(open_connection):
    """A connection whose transport is gone, and nobody heard of it."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    connection = await open_connection(*server.sockets[0].getsockname()[:2])
    transport = connection[1].transport if isinstance(connection, tuple) else connection._writer.transport
    transport.abort()
    transport.write(b"the first one after that is dropped")
    await asyncio.sleep(0)
    server.close()
    return connection


def test_what_a_closed_connection_says_is_no_fault_of_a_message():
    async def written():
        _, writer = await closed_under(asyncio.open_connection)
        writer.write(b"a statement")

    with pytest.raises(RuntimeError) as found:
        uvloop.run(written())
    assert kind_of(found.value) is Kind.TRANSIENT
    assert kind_of(RuntimeError("dictionary changed size during iteration")) is Kind.POISON


def test_a_request_on_a_closed_connection_fails_as_a_lost_connection_does():
    async def sent():
        async def opened(host, port):
            connection = aiokafka.conn.AIOKafkaConnection(host, port)
            connection._reader, connection._writer = await asyncio.open_connection(host, port)
            connection._read_task = asyncio.create_task(connection._reader.read())
            connection._versions = {MetadataRequest.API_KEY: (0, 0)}
            return connection

        await (await closed_under(opened)).send(MetadataRequest([]))

    with pytest.raises(KafkaConnectionError):
        uvloop.run(sent())
