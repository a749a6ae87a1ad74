"""MoldUDP64 framing, without I/O: a datagram in, messages out.

A packet is `session[10], sequence u64 big-endian, count u16 big-endian`, then so many blocks of `length u16 big-endian,
message`. A request has the same 20 bytes and nothing behind: the first number wanted and how many."""

from __future__ import annotations

import struct
from typing import NamedTuple

HEADER = struct.Struct(">10sQH")
"""Header of a packet, and a whole request."""
COUNT_MAX = 0xFFFE
"""Most messages that a packet can name."""
_END_OF_SESSION = 0xFFFF


class MoldError(Exception):
    """The datagram is no packet."""


class MoldPacket(NamedTuple):
    """A packet: without messages it is a heartbeat, or the end of the session."""

    session: bytes
    sequence: int
    """Number of the first message, or of the next one where there is none."""
    messages: list[bytes]
    ended: bool

    @property
    def next_sequence(self) -> int:
        """Number of the message after this packet."""
        return self.sequence + len(self.messages)


def session_name(name: str) -> bytes:
    """A session's name on the wire."""
    encoded = name.encode("ascii")
    if len(encoded) > 10:
        raise ValueError(f"{name!r} is longer than 10 characters")
    return encoded.ljust(10)


def decode(datagram: bytes) -> MoldPacket:
    """The packet of a datagram, which its messages fill exactly."""
    if len(datagram) < HEADER.size:
        raise MoldError(f"a datagram of {len(datagram)} bytes ends before its header does")
    session, sequence, count = HEADER.unpack_from(datagram)
    ended = count == _END_OF_SESSION
    if ended:
        count = 0
    if sequence + count > 0xFFFF_FFFF_FFFF_FFFF:
        raise MoldError(f"{count} messages from number {sequence} have no numbers")
    messages, at = [], HEADER.size
    for _ in range(count):
        if at + 2 > len(datagram):
            raise MoldError(f"a datagram of {len(datagram)} bytes ends before its messages do")
        length = int.from_bytes(datagram[at : at + 2], "big")
        message = bytes(datagram[at + 2 : at + 2 + length])
        if len(message) < length:
            raise MoldError(f"a datagram of {len(datagram)} bytes ends before its messages do")
        messages.append(message)
        at += 2 + length
    if at < len(datagram):
        raise MoldError(f"{len(datagram) - at} bytes follow the messages of a datagram")
    return MoldPacket(session, sequence, messages, ended)


def encode(session: bytes, sequence: int, messages: list[bytes]) -> bytes:
    """A packet with these messages; without any it is a heartbeat."""
    if len(messages) > COUNT_MAX:
        raise ValueError(f"{len(messages)} messages exceed a packet")
    blocks = b"".join(struct.pack(">H", len(message)) + message for message in messages)
    return HEADER.pack(session, sequence, len(messages)) + blocks


def end_of_session(session: bytes, sequence: int) -> bytes:
    """The end of a session, before which the message of this number would have come."""
    return HEADER.pack(session, sequence, _END_OF_SESSION)


def request(session: bytes, sequence: int, count: int) -> bytes:
    """Asks for so many messages from a number on."""
    return HEADER.pack(session, sequence, min(count, COUNT_MAX))
