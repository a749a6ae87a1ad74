"""A session with a node over TCP, in the clear or under TLS 1.3: log in, log on, read, send, resume.

Heartbeats go out while a message is waited for; a caller that neither reads nor sends for long loses its session. `next_seq`
is the number of the next sequenced message: a new session that asks for it misses and repeats nothing."""

from __future__ import annotations

import socket
import ssl
import time
from types import TracebackType
from typing import Callable, Iterator, NamedTuple, Optional, Sequence

from . import orders, soupbin
from .messages import Challenge, DecodeError, Grade, LoggedOn, Message, RejectedMessage, Revoked, decode
from .signing import SigningKey

HEARTBEAT_S = 1.0
"""Silence after which a heartbeat is sent."""
SERVER_SILENCE_S = 15.0
"""Silence after which the server counts as gone."""
LOGIN_TIMEOUT_S = 10.0
"""How long a server may take over login and challenge."""
REVOKED = (32).to_bytes(2, "little")
"""Template of the message that takes back what was told."""


class SessionError(Exception):
    """The session is over, or never began."""


class LoginRefused(SessionError):
    """The server refused the login."""


class LogonRefused(SessionError):
    """The node refused the logon, or a Logon was answered by nothing."""


class Disconnected(SessionError):
    """The connection was lost before the server ended the session; resume with `next_seq`."""


class Untrusted(SessionError):
    """The node's certificate is not trusted, or carries another name."""


class Received(NamedTuple):
    """A message with its number; `None` for an unsequenced one."""

    seq: Optional[int]
    message: Message


class ReceivedBytes(NamedTuple):
    """A message as it came."""

    seq: Optional[int]
    message: bytes


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port`."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"{address!r} is no host:port")
    return host.strip("[]"), int(port)


class Session:
    """One SoupBinTCP session; iterating it gives the messages until the server ends it."""

    def __init__(
        self,
        address: str,
        session: str,
        next_seq: int,
        tls: Optional[ssl.SSLContext] = None,
        tls_name: Optional[str] = None,
    ) -> None:
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
        host, port = split_address(address)
        try:
            self._socket = socket.create_connection((host, port), timeout=LOGIN_TIMEOUT_S)
        except OSError as error:
            raise Disconnected(f"{address}: {error}") from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            plain = self._socket
            try:
                self._socket = tls.wrap_socket(plain, server_hostname=tls_name or host)
            except ssl.SSLCertVerificationError as error:
                plain.close()
                raise Untrusted(f"{address}: {error.verify_message}") from error
            except (OSError, ValueError) as error:
                plain.close()
                raise Disconnected(f"{address}: {error}") from error
        self._last_sent = self._last_heard = time.monotonic()
        try:
            self._log_in(next_seq)
        except BaseException:
            self._socket.close()
            raise

    @classmethod
    def public(
        cls, address: str, next_seq: int = 0, tls: Optional[ssl.SSLContext] = None, tls_name: Optional[str] = None
    ) -> Session:
        """The public feed, from this message on: 1 from the beginning, 0 whatever comes next."""
        return cls(address, soupbin.PUBLIC, next_seq, tls, tls_name)

    @classmethod
    def private(
        cls, address: str, next_seq: int = 0, tls: Optional[ssl.SSLContext] = None, tls_name: Optional[str] = None
    ) -> Session:
        """A participant's session, before the logon."""
        return cls(address, soupbin.PRIVATE, next_seq, tls, tls_name)

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
        self,
        items: Sequence[orders.Item],
        ttl_s: int = 60,
        nonce: Optional[int] = None,
        key_version: int = 1,
        not_after_ns: Optional[int] = None,
    ) -> int:
        """Signs quotes, cancels, seals, votes, emissions and a candidacy as one envelope and sends it; its nonce, by default the
        next one, comes back. `not_after_ns` takes the place of `ttl_s` where the node's time is not the clock's."""
        nonce, envelope = self._signed(items, ttl_s, nonce, key_version, not_after_ns)
        self.send(envelope)
        return nonce

    def send_on_disconnect(
        self,
        cancels: Sequence[orders.Cancel],
        ttl_s: int = 82_800,
        nonce: Optional[int] = None,
        key_version: int = 1,
        not_after_ns: Optional[int] = None,
    ) -> int:
        """Deposits signed cancels that the node sequences when this session ends, in place of those deposited before, and
        gives their nonce; an empty list withdraws them, and gives 0. `Held` or `RejectedMessage` answers."""
        if not cancels:
            self.send(orders.on_disconnect(None))
            return 0
        nonce, envelope = self._signed(cancels, ttl_s, nonce, key_version, not_after_ns)
        self.send(orders.on_disconnect(envelope))
        return nonce

    def send_reveal(self, reveal: orders.Reveal) -> None:
        """Opens a seal; `RevealAccepted` or `RejectedMessage` answers."""
        self.send(orders.reveal(reveal))

    def send_register(self, key: SigningKey, registration: orders.Registration, admit: bytes) -> None:
        """Registers an account that its registrar has admitted; `Registered` on the public feed, or `RejectedMessage`, answers."""
        self.send(orders.register(self.chain_id, key, registration, admit))

    @property
    def chain_id(self) -> bytes:
        """The chain that the node says it serves; of a private session."""
        if self.challenge is None:
            raise LogonRefused("a public session does not say which chain is served")
        return self.challenge.chain_id

    def _signed(
        self,
        items: Sequence[orders.Item],
        ttl_s: int,
        nonce: Optional[int],
        key_version: int,
        not_after_ns: Optional[int],
    ) -> tuple[int, bytes]:
        if self.logged_on is None or self._key is None:
            raise LogonRefused("log on before sending")
        if nonce is None:
            nonce = self._nonce
        if not_after_ns is None:
            not_after_ns = time.time_ns() + ttl_s * 1_000_000_000
        participant = self.logged_on.participant
        envelope = orders.envelope(self.chain_id, self._key, participant, nonce, not_after_ns, items, key_version)
        self._nonce = max(self._nonce, nonce + 1)
        return nonce, envelope

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
                if packet.payload[2:4] == REVOKED and isinstance(revoked := decode(packet.payload), Revoked):
                    self.next_seq = revoked.next
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
        looked = False
        while True:
            for packet in self._packets:
                if packet.kind not in "H+":
                    return packet
            now = time.monotonic()
            # Heartbeats keep nobody waiting longer than asked for.
            if looked and now >= deadline:
                return None
            if now >= self._last_sent + HEARTBEAT_S:
                self._send_packet(soupbin.encode("R"))
            # One look at the socket even when the deadline has passed, so that a timeout of zero polls.
            looked = True
            self._socket.settimeout(max(min(deadline, self._last_sent + HEARTBEAT_S) - now, 0.001))
            try:
                data = self._socket.recv(1 << 16)
            except TimeoutError:
                # Only a look that finds nothing makes a silence: what came while nobody looked lies in the socket.
                if now - self._last_heard >= SERVER_SILENCE_S:
                    raise Disconnected(f"{self.address} sends no heartbeats; resume with {self.next_seq}") from None
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


def follow(
    address: str,
    next_seq: int = 1,
    attempts: int = 5,
    pause_s: float = 0.5,
    tls: Optional[ssl.SSLContext] = None,
    tls_name: Optional[str] = None,
    logon: Optional[Callable[[Session], object]] = None,
) -> Iterator[Received]:
    """The public feed, resumed after every drop with the message after the last one; ends with the session. With `logon`,
    which is called with each new private session and logs it on, a participant's stream. Raises `Disconnected` after so
    many attempts in a row that brought no message. Messages of a later schema are left out."""
    if logon is not None and next_seq == 0:
        raise ValueError("a private session asked for what comes next does not learn its numbers; begin with 1")
    failed = 0
    name = soupbin.PUBLIC if logon is None else soupbin.PRIVATE
    while True:
        try:
            with Session(address, name, next_seq, tls, tls_name) as session:
                # A session asked for what comes next knows its number now; a private one is told its own back.
                next_seq = session.next_seq
                if logon is not None:
                    logon(session)
                while not session.ended:
                    try:
                        received = session.receive(60.0)
                    except DecodeError:
                        next_seq = session.next_seq
                        continue
                    if received is None:
                        continue
                    failed, next_seq = 0, session.next_seq
                    yield received
                return
        except Disconnected:
            failed += 1
            if failed >= attempts:
                raise
            time.sleep(pause_s * failed)
