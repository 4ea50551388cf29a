"""Unit tests do no I/O: a connection attempt fails at once and says so."""

import socket
from typing import NoReturn

import hypothesis
import pytest

# The same examples on every run and no folder of its own: a unit test is as quick and as repeatable as the others.
hypothesis.settings.register_profile("unit", max_examples=60, deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("unit")


@pytest.fixture(autouse=True)
def _no_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_socket: socket.socket, address: object) -> NoReturn:
        raise AssertionError(f"A unit test tried to connect to {address}; it belongs to tests/integration.")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
