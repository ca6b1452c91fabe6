"""Proxy: stands between a store and its server, and loses what one wants lost."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

_BLOCK = 1 << 16


class Proxy:
    """A port that leads to the tests' PostgreSQL server.

    Attributes:
        port: where to connect.
        deaf: what the server says goes nowhere while this is true; what it is told still arrives.
        mute: nothing that a client says arrives while this is true.
        lost: called, in the proxy's thread, when an answer went nowhere.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 5432) -> None:
        self._target = (host, port)
        self._listener: socket.socket | None = None
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self.port = 0
        self.deaf = False
        self.mute = False
        self.lost: Callable[[], None] = lambda: None
        self.listen()

    def listen(self) -> None:
        """Take connections, on the same port as before."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(64)
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._start(self._accept, listener)

    def refuse(self) -> None:
        """Take no more connections."""
        if self._listener:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def cut(self) -> None:
        """End every connection."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End everything, and wait for it."""
        self.refuse()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def _start(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self._target, timeout=10)
                server.settimeout(None)
                self._pairs.append((client, server))
                self._start(self._carry, client, server, False)
                self._start(self._carry, server, client, True)

    def _carry(self, source: socket.socket, target: socket.socket, answering: bool) -> None:
        with suppress(OSError):
            while data := source.recv(_BLOCK):
                if answering and self.deaf:
                    self.lost()
                elif not (self.mute and not answering):
                    target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()
