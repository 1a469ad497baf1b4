"""One migrated database a test, cloned from a template.

In: the address of a server. Out: names and addresses of databases on it. Every one is dropped by its fixture.
"""

import uuid
from urllib.parse import urlsplit, urlunsplit

import asyncpg


def url_of(server_url: str, database: str) -> str:
    """The address of another database of the same server."""
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{database}"))


def address_of(database_url: str) -> str:
    """Host and port."""
    return urlsplit(database_url).netloc.rpartition("@")[2]


def moved(database_url: str, address: str) -> str:
    """The same database by another host and port: those of a proxy, perhaps."""
    parts = urlsplit(database_url)
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@{address}"))


def new_name(purpose: str) -> str:
    """A name that no other test, process or run has."""
    return f"{purpose}_{uuid.uuid4().hex[:12]}"


async def create(server_url: str, database: str, template: str = "template1") -> None:
    await _execute(server_url, f'create database "{database}" template "{template}"')


async def drop(server_url: str, database: str) -> None:
    await _execute(server_url, f'drop database if exists "{database}" with (force)')


async def _execute(server_url: str, statement: str) -> None:
    connection = await asyncpg.connect(server_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
