"""Ports of this machine for servers that tests start."""

import socket


def free():
    """The number of a port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
