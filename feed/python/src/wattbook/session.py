"""A session with a node over TCP: log in, log on, read, send, resume.

Heartbeats go out while a message is waited for; a caller that neither reads nor sends for long loses its session. `next_seq`
is the number of the next sequenced message: a new session that asks for it misses and repeats nothing."""

from __future__ import annotations

import socket
import time
from types import TracebackType
from typing import Iterator, NamedTuple, Optional, Sequence

from . import orders, soupbin
from .messages import Challenge, DecodeError, Grade, LoggedOn, Message, RejectedMessage, decode
from .signing import SigningKey

HEARTBEAT_S = 1.0
"""Silence after which a heartbeat is sent."""
SERVER_SILENCE_S = 15.0
"""Silence after which the server counts as gone."""
LOGIN_TIMEOUT_S = 10.0
"""How long a server may take over login and challenge."""


class SessionError(Exception):
    """The session is over, or never began."""


class LoginRefused(SessionError):
    """The server refused the login."""


class LogonRefused(SessionError):
    """The node refused the logon, or a Logon was answered by nothing."""


class Disconnected(SessionError):
    """The connection was lost before the server ended the session; resume with `next_seq`."""


class Received(NamedTuple):
    """A message with its number; `None` for an unsequenced one."""

    seq: Optional[int]
    message: Message


class ReceivedBytes(NamedTuple):
    """A message as it came."""

    seq: Optional[int]
    message: bytes


def _address(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"{address!r} is no host:port")
    return host.strip("[]"), int(port)


class Session:
    """One SoupBinTCP session; iterating it gives the messages until the server ends it."""

    def __init__(self, address: str, session: str, next_seq: int) -> None:
        self.address = address
        self.name = session
        self.next_seq = next_seq
        self.challenge: Optional[Challenge] = None
        self.logged_on: Optional[LoggedOn] = None
        self._key: Optional[SigningKey] = None
        self._nonce = 0
        self._decoder = soupbin.Decoder()
        self._packets: Iterator[soupbin.Packet] = iter(())
        self._ended = False
        # Messages that came before the answer to a logon.
        self._kept: list[Received] = []
        try:
            self._socket = socket.create_connection(_address(address), timeout=LOGIN_TIMEOUT_S)
        except OSError as error:
            raise Disconnected(f"{address}: {error}") from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._last_sent = self._last_heard = time.monotonic()
        try:
            self._log_in(next_seq)
        except BaseException:
            self._socket.close()
            raise

    @classmethod
    def public(cls, address: str, next_seq: int = 0) -> Session:
        """The public feed, from this message on: 1 from the beginning, 0 whatever comes next."""
        return cls(address, soupbin.PUBLIC, next_seq)

    @classmethod
    def private(cls, address: str, next_seq: int = 0) -> Session:
        """A participant's session, before the logon."""
        return cls(address, soupbin.PRIVATE, next_seq)

    def _log_in(self, next_seq: int) -> None:
        self._send_packet(soupbin.login_request(self.name, next_seq))
        deadline = time.monotonic() + LOGIN_TIMEOUT_S
        packet = self._packet(deadline)
        if packet is None:
            raise LoginRefused(f"{self.address} did not answer the login")
        if packet.kind == "J":
            raise LoginRefused(f"{self.address} refused the login: {packet.payload.decode('ascii', 'replace')}")
        if packet.kind == "U":
            refused = decode(packet.payload)
            raise LoginRefused(f"{self.address} takes no session: {refused}")
        if packet.kind != "A":
            raise soupbin.FramingError(f"a packet {packet.kind} answers no login")
        self.next_seq = soupbin.login_accepted(packet.payload)[1]
        if self.name == soupbin.PRIVATE:
            first = self._packet(deadline)
            message = decode(first.payload) if first is not None and first.kind == "U" else None
            if not isinstance(message, Challenge):
                raise LoginRefused(f"{self.address} sent no challenge")
            self.challenge = message

    def logon(
        self, participant: int, key: SigningKey, grade: Grade = Grade.DURABLE, chain_id: Optional[bytes] = None
    ) -> LoggedOn:
        """Logs a participant on; reports that come before the answer are read afterwards. With `chain_id` nothing is signed
        for another chain."""
        challenge = self.challenge
        if challenge is None:
            raise LogonRefused("a public session has no challenge to log on with")
        if chain_id is not None and chain_id != challenge.chain_id:
            raise LogonRefused(f"{self.address} serves chain {challenge.chain_id.hex()}")
        self.send(orders.logon(challenge.chain_id, challenge.challenge, key, participant, grade))
        deadline = time.monotonic() + LOGIN_TIMEOUT_S
        while (received := self._receive_new(deadline - time.monotonic())) is not None:
            if isinstance(received.message, RejectedMessage):
                raise LogonRefused(f"{received.message.code.name} ({received.message.code.value})")
            if isinstance(received.message, LoggedOn):
                self.logged_on, self._key, self._nonce = received.message, key, received.message.next_nonce
                return received.message
            self._kept.append(received)
        raise LogonRefused("the logon was not answered")

    def send_quotes(
        self, items: Sequence[orders.Item], ttl_s: int = 60, nonce: Optional[int] = None, key_version: int = 1
    ) -> int:
        """Signs quotes and cancels as one envelope and sends it; its nonce, by default the next one, comes back."""
        if self.logged_on is None or self._key is None or self.challenge is None:
            raise LogonRefused("log on before sending")
        if nonce is None:
            nonce = self._nonce
        not_after_ns = time.time_ns() + ttl_s * 1_000_000_000
        participant = self.logged_on.participant
        chain_id = self.challenge.chain_id
        self.send(orders.envelope(chain_id, self._key, participant, nonce, not_after_ns, items, key_version))
        self._nonce = max(self._nonce, nonce + 1)
        return nonce

    def send(self, message: bytes) -> None:
        """Sends a message as it is."""
        self._send_packet(soupbin.encode("U", message))

    def receive(self, timeout_s: float) -> Optional[Received]:
        """The next message, `None` where none comes in time. Raises `DecodeError` for a message that is malformed or of a
        later schema: the next one can be read."""
        if self._kept:
            return self._kept.pop(0)
        return self._receive_new(timeout_s)

    def _receive_new(self, timeout_s: float) -> Optional[Received]:
        received = self.receive_bytes(timeout_s)
        return None if received is None else Received(received.seq, decode(received.message))

    def receive_bytes(self, timeout_s: float) -> Optional[ReceivedBytes]:
        """The next message as it comes over the wire; `None` where none does in time, or the session has ended (`ended`)."""
        deadline = time.monotonic() + timeout_s
        while not self._ended:
            packet = self._packet(deadline)
            if packet is None:
                return None
            if packet.kind == "S":
                seq, self.next_seq = self.next_seq, self.next_seq + 1
                return ReceivedBytes(seq, packet.payload)
            if packet.kind == "U":
                return ReceivedBytes(None, packet.payload)
            if packet.kind != "Z":
                raise soupbin.FramingError(f"a packet {packet.kind} where a message was due")
            self._ended = True
        return None

    @property
    def ended(self) -> bool:
        """Whether the server has ended the session."""
        return self._ended

    def __iter__(self) -> Iterator[Received]:
        while self._kept or not self._ended:
            received = self.receive(60.0)
            if received is not None:
                yield received

    def logout(self) -> None:
        """Says goodbye and closes the connection."""
        try:
            self._send_packet(soupbin.encode("O"))
        finally:
            self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._socket.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def _send_packet(self, packet: bytes) -> None:
        try:
            self._socket.settimeout(LOGIN_TIMEOUT_S)
            self._socket.sendall(packet)
        except OSError as error:
            raise Disconnected(f"{self.address}: {error}; resume with {self.next_seq}") from error
        self._last_sent = time.monotonic()

    def _packet(self, deadline: float) -> Optional[soupbin.Packet]:
        """The next packet that is no heartbeat or debug text, until `deadline`."""
        while True:
            for packet in self._packets:
                if packet.kind not in "H+":
                    return packet
            now = time.monotonic()
            if now - self._last_heard >= SERVER_SILENCE_S:
                raise Disconnected(f"{self.address} sends no heartbeats; resume with {self.next_seq}")
            if now >= self._last_sent + HEARTBEAT_S:
                self._send_packet(soupbin.encode("R"))
            # One look at the socket even when the deadline has passed, so that a timeout of zero polls.
            self._socket.settimeout(max(min(deadline, self._last_sent + HEARTBEAT_S) - now, 0.001))
            try:
                data = self._socket.recv(1 << 16)
            except TimeoutError:
                if time.monotonic() >= deadline:
                    return None
                continue
            except OSError as error:
                raise Disconnected(f"{self.address}: {error}; resume with {self.next_seq}") from error
            if not data:
                raise Disconnected(f"{self.address} closed the connection; resume with {self.next_seq}")
            self._last_heard = time.monotonic()
            self._decoder.feed(data)
            self._packets = self._decoder.packets()


def replay(path: str) -> Iterator[Received]:
    """What `wattbook tail --record` wrote: a server's side of a session. Ends with the file; raises `Disconnected` where the
    file ends within a packet. Messages of a later schema are left out."""
    decoder, next_seq = soupbin.Decoder(), None
    with open(path, "rb") as file:
        while data := file.read(1 << 16):
            decoder.feed(data)
            for packet in decoder.packets():
                if next_seq is None:
                    if packet.kind != "A":
                        raise soupbin.FramingError(f"{path} is no recording of a session")
                    next_seq = soupbin.login_accepted(packet.payload)[1]
                    continue
                if packet.kind not in "SU":
                    continue
                seq = None
                if packet.kind == "S":
                    seq, next_seq = next_seq, next_seq + 1
                try:
                    yield Received(seq, decode(packet.payload))
                except DecodeError:
                    continue
    if next_seq is None:
        raise soupbin.FramingError(f"{path} is no recording of a session")
    if decoder.pending:
        raise Disconnected(f"{path} ends within a packet; the next message is {next_seq}")


def follow(address: str, next_seq: int = 1, attempts: int = 5, pause_s: float = 0.5) -> Iterator[Received]:
    """The public feed, resumed after every drop with the message after the last one; ends with the session. Raises
    `Disconnected` after so many attempts in a row that brought no message. Messages of a later schema are left out."""
    failed = 0
    while True:
        try:
            with Session.public(address, next_seq) as session:
                # A session asked for what comes next knows its number now.
                next_seq = session.next_seq
                while not session.ended:
                    received = session.receive_bytes(60.0)
                    if received is None:
                        continue
                    failed, next_seq = 0, session.next_seq
                    try:
                        yield Received(received.seq, decode(received.message))
                    except DecodeError:
                        continue
                return
        except Disconnected:
            failed += 1
            if failed >= attempts:
                raise
            time.sleep(pause_s * failed)
