"""SoupBinTCP 3.0 framing, without I/O: bytes in, packets out.

A packet is `length u16 big-endian, type, payload`; the length counts type and payload."""

from __future__ import annotations

import struct
from typing import Iterator, NamedTuple

PACKET_MAX = 65_535
"""Greatest packet that the length field can name, type included."""

PRIVATE = "PRIVATE"
"""Session of a participant's answers."""
PUBLIC = "PUBLIC"
"""Session of the public feed."""


class FramingError(Exception):
    """The bytes are no SoupBinTCP packets of a server; the stream has no next packet."""


class Packet(NamedTuple):
    """A packet: its type, one letter, and its payload."""

    kind: str
    payload: bytes


SERVER_KINDS = frozenset("+AJSUHZ")
"""Types that a server may send."""


def encode(kind: str, payload: bytes = b"") -> bytes:
    """A packet."""
    if len(payload) + 1 > PACKET_MAX:
        raise ValueError(f"a message of {len(payload)} bytes exceeds a packet")
    return struct.pack(">Hc", len(payload) + 1, kind.encode()) + payload


def login_request(session: str, next_seq: int, username: str = "", password: str = "") -> bytes:
    """The first packet of a client; `next_seq` 0 asks for whatever comes next."""
    return encode("L", f"{username:<6.6}{password:<10.10}{session:>10.10}{next_seq:>20}".encode("ascii"))


def login_accepted(payload: bytes) -> tuple[str, int]:
    """Session and number of the next sequenced message of an acceptance."""
    try:
        text = payload.decode("ascii")
        session, number = text[:10].strip(" "), text[10:].strip(" ")
        if len(text) != 30 or not (number.isascii() and number.isdigit()):
            raise FramingError(f"{payload!r} accepts no login")
        return session, int(number)
    except UnicodeDecodeError as error:
        raise FramingError(f"{payload!r} accepts no login") from error


class Decoder:
    """Cuts a server's bytes into packets."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> None:
        """Takes what was received."""
        self._bytes += data

    @property
    def pending(self) -> int:
        """Bytes that are no whole packet yet."""
        return len(self._bytes)

    def packets(self) -> Iterator[Packet]:
        """The packets that are whole; raises `FramingError` where there is none and never will be."""
        while len(self._bytes) >= 3:
            length = int.from_bytes(self._bytes[:2], "big")
            kind = chr(self._bytes[2])
            if length == 0 or kind not in SERVER_KINDS:
                raise FramingError(f"length {length}, type {kind!r} begins no packet of a server")
            if len(self._bytes) < 2 + length:
                return
            payload = bytes(self._bytes[3 : 2 + length])
            del self._bytes[: 2 + length]
            yield Packet(kind, payload)
