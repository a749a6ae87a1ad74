"""One stream out of several lines of MoldUDP64, without I/O: the first copy of each message, in order, and what to ask for
when none has come.

Messages come out in the order of their numbers, each once, whatever the lines lose, repeat or reorder. A bounded number is
held beyond a gap; what lies further is asked for when there is room."""

from __future__ import annotations

from typing import NamedTuple, Optional, Union

from . import moldudp

REORDER_S = 0.002
"""How long the other line, or a late packet, may close a gap before it is asked for."""
PATIENCE_S = 0.02
"""Wait for the answer to the first request; it doubles with each."""
PATIENCE_MAX_S = 0.16
"""Longest wait for the answer to a request."""
REQUESTS_MAX = 6
"""Requests in a row without an answer after which the stream is resumed elsewhere."""
GAPS_MAX = 16
"""Most gaps asked for at once."""


class Wait(NamedTuple):
    """Something is missing; look again at this time."""

    until: float


class Again(NamedTuple):
    """These datagrams ask for what is missing; look again at this time."""

    requests: list[bytes]
    until: float


class Resume(NamedTuple):
    """Asking does not help: the stream is to be resumed from this number."""

    next_seq: int


Ask = Union[None, Wait, Again, Resume]
"""What is to be done about a gap; `None` where there is none."""


class Arbiter:
    """The lines' arbiter of one session, from a number on (0: from the first packet on)."""

    def __init__(self, session: bytes, next_seq: int = 0, held_max: int = 65_536) -> None:
        self.session = session
        self.next_seq = next_seq
        """Number of the message that comes out next; 0 until the first packet has said it."""
        self.end = next_seq
        """One more than the last number known of."""
        self.duplicates = 0
        """Messages that had come before."""
        self.foreign = 0
        """Packets of other sessions, and datagrams that are no packet."""
        self.requests = 0
        """Requests to send messages again."""
        self.resumes = 0
        """Resumptions elsewhere."""
        self._held: dict[int, bytes] = {}
        self._held_max = held_max
        self._ended = False
        # Where the gap begins, when to do something about it, and how often it has been asked for.
        self._gap: Optional[tuple[int, float, int]] = None

    @property
    def is_over(self) -> bool:
        """Whether the session has ended and every message has come out."""
        return self._ended and self.next_seq >= self.end

    def take(self, datagram: bytes) -> bool:
        """Takes a datagram of any line, or an answer to a request; whether it was a packet of the session."""
        try:
            packet = moldudp.decode(datagram)
        except moldudp.MoldError:
            self.foreign += 1
            return False
        if packet.session != self.session:
            self.foreign += 1
            return False
        if self.next_seq == 0:
            self.next_seq = self.end = packet.sequence
        for number, message in enumerate(packet.messages, packet.sequence):
            self.put(number, message)
        self._ended |= packet.ended
        self.end = max(self.end, packet.next_sequence)
        return True

    def put(self, number: int, message: bytes) -> None:
        """Takes one message, from wherever it came."""
        self.end = max(self.end, number + 1)
        if number < self.next_seq or number in self._held:
            self.duplicates += 1
        elif number < self.next_seq + self._held_max:
            self._held[number] = message

    def pop(self) -> Optional[tuple[int, bytes]]:
        """The next message, if it has come."""
        message = self._held.pop(self.next_seq, None)
        if message is None:
            return None
        self.next_seq += 1
        return self.next_seq - 1, message

    def _missing(self) -> list[bytes]:
        requests, first = [], self.next_seq
        for number in [*sorted(self._held), self.end]:
            if number > first:
                requests.append(moldudp.request(self.session, first, number - first))
                if len(requests) == GAPS_MAX:
                    break
            first = number + 1
        return requests

    def ask(self, now: float) -> Ask:
        """What to do at this time, once nothing comes out."""
        if self.next_seq >= self.end or self.next_seq in self._held:
            self._gap = None
            return None
        if self._gap is not None and self._gap[0] == self.next_seq:
            _, due, asked = self._gap
        elif self._gap is not None and self._gap[2] > 0:
            # An answer has come and there is more to ask for: the line has lost it already.
            due, asked = now, 0
        else:
            due, asked = now + REORDER_S, 0
        self._gap = self.next_seq, due, asked
        if now < due:
            return Wait(due)
        if asked == REQUESTS_MAX:
            self._gap = None
            self.resumes += 1
            return Resume(self.next_seq)
        due = now + min(PATIENCE_S * (1 << asked), PATIENCE_MAX_S)
        self._gap = self.next_seq, due, asked + 1
        requests = self._missing()
        self.requests += len(requests)
        return Again(requests, due)
