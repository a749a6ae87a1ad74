"""The public feed over MoldUDP64: two lines, a re-request server, and the session port behind them.

A gap is closed by the other line, else by a re-request server, else by resuming over SoupBinTCP; without either it is an
error that names the first message missing."""

from __future__ import annotations

import selectors
import socket
import ssl
import struct
import time
from ipaddress import ip_address
from types import TracebackType
from typing import Iterator, Optional, Sequence

from . import moldudp, soupbin
from .arbiter import Again, Arbiter, Wait
from .messages import DecodeError, decode
from .session import SERVER_SILENCE_S, Disconnected, Received, ReceivedBytes, Session, split_address

HELD_MAX = 65_536
"""Messages held beyond a gap, at most."""
RESUME_WAIT_S = 10.0
"""Wait for one message while the stream is resumed over SoupBinTCP."""
_DATAGRAM_MAX = 65_507
_TURN = 64
"""Datagrams taken from one socket before the next one's turn."""


class Lost(Disconnected):
    """Messages are lost and there is nowhere to get them."""


def _line(address: str) -> socket.socket:
    host, port = split_address(address)
    ip = ip_address(host)
    family = socket.AF_INET6 if ip.version == 6 else socket.AF_INET
    line = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if not ip.is_multicast:
            line.bind((host, port))
        elif ip.version == 4:
            line.bind(("", port))
            line.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, ip.packed + bytes(4))
        else:
            line.bind(("::", port))
            line.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, ip.packed + struct.pack("@I", 0))
    except OSError:
        line.close()
        raise
    return line


class Subscriber:
    """A subscription to the public feed from a message on (0: whatever comes next); iterating it gives the messages until
    the session ends.

    `lines` are the addresses that packets are sent to, a multicast group is joined on any interface; `requests` those of
    re-request servers, asked in turn; `session` the session port, for what is too old for them."""

    def __init__(
        self,
        lines: Sequence[str],
        requests: Sequence[str] = (),
        session: Optional[str] = None,
        next_seq: int = 0,
        tls: Optional[ssl.SSLContext] = None,
        tls_name: Optional[str] = None,
    ) -> None:
        self.arbiter = Arbiter(moldudp.session_name(soupbin.PUBLIC), next_seq, HELD_MAX)
        self._requests = [split_address(address) for address in requests]
        self._session, self._tls, self._tls_name = session, tls, tls_name
        self._turn = 0
        self._selector = selectors.DefaultSelector()
        self._sockets: list[socket.socket] = []
        try:
            for address in lines:
                self._sockets.append(_line(address))
            v6 = any(":" in host for host, _ in self._requests)
            # Asks; answers come back to it.
            self._asking = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
            self._sockets.append(self._asking)
            self._asking.bind(("", 0))
            for each in self._sockets:
                each.setblocking(False)
                self._selector.register(each, selectors.EVENT_READ)
        except BaseException:
            self.close()
            raise
        self._heard = time.monotonic()

    @property
    def next_seq(self) -> int:
        """Number of the message that comes next."""
        return self.arbiter.next_seq

    @property
    def ended(self) -> bool:
        """Whether the session has ended and every message of it has been given."""
        return self.arbiter.is_over

    @property
    def addresses(self) -> list[str]:
        """Where the lines listen, in their order."""
        names = [each.getsockname() for each in self._sockets[:-1]]
        return [f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}" for name in names]

    def receive_bytes(self, timeout_s: float) -> Optional[ReceivedBytes]:
        """The next message as it came; `None` where none does in time, or the session has ended (`ended`)."""
        deadline = time.monotonic() + timeout_s
        looked = False
        while True:
            popped = self.arbiter.pop()
            if popped is not None:
                return ReceivedBytes(*popped)
            # Packets that bring nothing keep nobody waiting longer than asked for.
            if self.arbiter.is_over or (looked and time.monotonic() >= deadline):
                return None
            looked = True
            if self._read():
                self._heard = time.monotonic()
                continue
            now = time.monotonic()
            until = min(deadline, self._heard + SERVER_SILENCE_S)
            ask = self.arbiter.ask(now)
            if isinstance(ask, Again) and self._requests:
                self._turn = (self._turn + 1) % len(self._requests)
                for request in ask.requests:
                    try:
                        self._asking.sendto(request, self._requests[self._turn])
                    except OSError:
                        # A request that is not sent is one that is not answered.
                        pass
                until = min(until, ask.until)
            elif isinstance(ask, Wait):
                until = min(until, ask.until)
            elif ask is not None:
                self._resume()
                continue
            if now >= self._heard + SERVER_SILENCE_S:
                raise Disconnected(f"the sender is silent; the next message is {self.next_seq}")
            if now >= deadline:
                continue
            self._selector.select(max(until - now, 0.0))

    def __iter__(self) -> Iterator[Received]:
        """Messages of a later schema are left out."""
        while not self.ended:
            received = self.receive_bytes(60.0)
            if received is None:
                continue
            try:
                yield Received(received.seq, decode(received.message))
            except DecodeError:
                continue

    def _read(self) -> bool:
        heard = False
        for each in self._sockets:
            for _ in range(_TURN):
                try:
                    datagram = each.recv(_DATAGRAM_MAX)
                except BlockingIOError:
                    break
                except (ConnectionRefusedError, InterruptedError):
                    # A server that is not there is told of by the next call.
                    continue
                heard |= self.arbiter.take(datagram)
        return heard

    def _resume(self) -> None:
        """Takes everything up to the end known of from the session port, as much as fits."""
        seq = self.next_seq
        if self._session is None:
            raise Lost(f"message {seq} is lost, and no server gives it again")
        until = min(self.arbiter.end, seq + HELD_MAX)
        with Session.public(self._session, seq, self._tls, self._tls_name) as session:
            while session.next_seq < until:
                received = session.receive_bytes(RESUME_WAIT_S)
                if received is None:
                    raise Lost(f"message {session.next_seq} is lost, and {self._session} does not give it again")
                if received.seq is not None:
                    self.arbiter.put(received.seq, received.message)
        self._heard = time.monotonic()

    def close(self) -> None:
        """Closes the sockets."""
        self._selector.close()
        for each in self._sockets:
            each.close()

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()
