"""Ports a stopped server finds free again."""

import socket

from server.embedded.ports import LOOPBACK, free_port


def test_a_free_port_can_be_bound_and_is_never_an_ephemeral_one():
    for _ in range(50):
        port = free_port()
        assert 20_000 <= port <= 32_000
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((LOOPBACK, port))


def test_a_port_in_use_is_not_given(monkeypatch):
    with socket.socket() as server:
        server.bind((LOOPBACK, 0))
        server.listen()
        taken = server.getsockname()[1]
        answers = iter([taken, taken, free_port()])
        monkeypatch.setattr("random.SystemRandom.randint", lambda *_: next(answers))
        assert free_port() != taken
