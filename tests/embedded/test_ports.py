"""Whoever starts servers side by side, in one process or in several, is given ports of his own."""

import os
import socket
import subprocess
import sys
from collections import deque

import pytest

from mergeline.embedded import ports
from mergeline.embedded.errors import EmbeddedError

ANOTHER_PROCESS = """
import sys
from mergeline.embedded import ports
ports.PORTS = range(*map(int, sys.argv[1:3]))
print(*ports.free_ports(int(sys.argv[3])))
"""


@pytest.fixture
def few(monkeypatch):
    """Only six ports are to be had: some that nobody is given otherwise."""
    claims = deque()
    monkeypatch.setattr(ports, "_claims", claims)
    monkeypatch.setattr(ports, "PORTS", range(19_000 + os.getpid() % 150 * 6, 19_006 + os.getpid() % 150 * 6))
    yield ports.PORTS
    for claim in claims:
        os.close(claim)


def given_to_another_process(count):
    arguments = map(str, (ports.PORTS.start, ports.PORTS.stop, count))
    answer = subprocess.run(
        [sys.executable, "-c", ANOTHER_PROCESS, *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    return {int(port) for port in answer.stdout.split()}


def test_a_port_is_given_once_though_no_server_is_up_yet(few):
    first = set(ports.free_ports(2))
    second = set(ports.free_ports(2))
    third = given_to_another_process(2)
    assert first | second | third == set(few)
    with pytest.raises(EmbeddedError, match="no 3 free ports"):
        ports.free_ports(3)


def test_what_a_process_was_given_is_free_once_it_has_ended(few):
    assert given_to_another_process(6) == set(few)
    assert set(ports.free_ports(6)) == set(few)


def test_a_port_with_a_server_is_not_given(few):
    with socket.create_server((ports.HOST, few.start)):
        assert set(ports.free_ports(5)) == set(few[1:])


def test_a_server_gets_the_port_that_was_given(few):
    (port,) = ports.free_ports(1)
    with socket.create_server((ports.HOST, port)) as server:
        assert server.getsockname()[1] == port


def test_claims_are_bounded(few, monkeypatch):
    monkeypatch.setattr(ports, "CLAIMS_MAX", 3)
    for _ in range(6):
        ports.free_ports(3)
        assert len(ports._claims) == 3
