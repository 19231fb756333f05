"""Ports for ranks that a benchmark or a test starts on this machine."""

import contextlib
import random
import socket


def free_port() -> int:
    """A TCP port that nobody listens on, below those that the system gives to outgoing connections.

    One of the latter may be taken by any connection between asking for it here and listening there.
    """
    while True:
        port = random.SystemRandom().randrange(20_000, 32_768)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            return port
