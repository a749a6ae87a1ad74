"""What a participant signs: quotes, cancels, seals, votes, candidacies, emissions as leaves, envelopes of them; reveals;
registrations."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import Optional, Sequence, Union

from .messages import SCHEMA_ID, SCHEMA_VERSION, Side, Templates
from .signing import SigningKey, digest, tree_root

PERIOD_S = 900
"""Length of a contract's period, s."""
QUARTER_HOUR = 1
"""The product that is traded."""
ALL_INDEXES = 0xFFFF_FFFF
"""Every order of an envelope."""


def contract_id(period: int, area: int = 1, product: int = QUARTER_HOUR) -> int:
    """A contract: quarter hours since 1970, product, area."""
    return period | product << 32 | area << 48


class TimeInForce(enum.IntEnum):
    """How long an order lives."""

    GATE = 0
    IOC = 1
    FOK = 2
    POST_ONLY = 3
    UNTIL = 4


class SelfTrade(enum.IntEnum):
    """Which of two orders goes that would trade within one group."""

    NEWEST = 0
    OLDEST = 1
    BOTH = 2
    DECREMENT = 3


@dataclass(frozen=True)
class Quote:
    """A new order. Prices in ticks of 0.01 points/MWh, energies in Wh."""

    contract: int
    side: Side
    price: int
    energy_wh: int
    client_order_id: int = 0
    charge_cap: int = -1
    min_fill_wh: int = 0
    display_wh: int = 0
    valid_until_s: int = 0
    time_in_force: TimeInForce = TimeInForce.GATE
    self_trade: SelfTrade = SelfTrade.NEWEST
    market_to_limit: bool = False
    round: int = 0
    """Sealed round that a reveal opens it for; 0 in the continuous book."""

    def leaf(self, index: int) -> bytes:
        """Its 48 bytes at this place of an envelope."""
        flags = self.side | self.time_in_force << 2 | self.market_to_limit << 5 | self.self_trade << 6
        numbers = (self.price, self.charge_cap, self.energy_wh, self.min_fill_wh, self.display_wh, self.valid_until_s)
        return struct.pack("<BBHIQQiiIIII", 1, flags, self.round, index, self.contract, self.client_order_id, *numbers)


@dataclass(frozen=True)
class Cancel:
    """Takes orders out of the book: one, an envelope's, or all; of one contract or, with 0, of all."""

    contract: int = 0
    target_nonce: int = 0
    target_index: int = ALL_INDEXES

    def leaf(self, index: int) -> bytes:
        """Its 48 bytes at this place of an envelope."""
        return struct.pack("<BBHIQQI20x", 2, 0, 0, index, self.contract, self.target_nonce, self.target_index)


@dataclass(frozen=True)
class Seal:
    """Commits to the quotes of a round, which a `Reveal` opens. The bond is the market's unit times 2 to the class."""

    contract: int
    commitment: bytes
    round: int = 1
    bond_class: int = 0

    def leaf(self, index: int) -> bytes:
        """Its 48 bytes at this place of an envelope."""
        return struct.pack("<BBHIQ32s", 4, self.bond_class, self.round, index, self.contract, self.commitment)


@dataclass(frozen=True)
class Vote:
    """A vote for a delegate, with all of the account's stake; of nobody, it takes the vote back. The epoch is the next one."""

    epoch: int
    candidate: Optional[int] = None

    def leaf(self, index: int) -> bytes:
        """Its 48 bytes at this place of an envelope."""
        return struct.pack("<BBHIQQ24x", 9, 0, 0, index, self.epoch, self.candidate or 0)


@dataclass(frozen=True)
class Emission:
    """What a participant emitted, in grams of CO2, as the regulator states it; the period in quarter hours since 1970."""

    participant: int
    period: int
    grams: int

    def leaf(self, index: int) -> bytes:
        """Its 48 bytes at this place of an envelope."""
        return struct.pack("<BBHIQI4xQ16x", 16, 0, 0, index, self.participant, self.period, self.grams)


@dataclass(frozen=True)
class CandidateKeys:
    """What a delegate stands with: the Ed25519 key of its links, the BLS key of its ballots, the proof that it holds that."""

    peer_key: bytes
    ballot_key: bytes
    possession: bytes

    def __post_init__(self) -> None:
        if (len(self.peer_key), len(self.ballot_key), len(self.possession)) != (32, 96, 48):
            raise ValueError("a peer key has 32 bytes, a ballot key 96, a proof of possession 48")

    @classmethod
    def proven(cls, peer_key: bytes, ballot: SigningKey) -> CandidateKeys:
        """The keys of a node whose ballots this key signs."""
        public_key = ballot.public_key()
        return cls(peer_key, public_key, ballot.prove_possession(public_key))

    def attachment(self) -> bytes:
        """Their 176 bytes behind an envelope."""
        return self.peer_key + self.ballot_key + self.possession


@dataclass(frozen=True)
class Candidacy:
    """Stands for election with these keys; without keys, stands no longer. The epoch is the next one."""

    epoch: int
    keys: Optional[CandidateKeys] = None

    def leaf(self, index: int, chain_id: bytes) -> bytes:
        """Its 48 bytes at this place of an envelope on this chain."""
        named = bytes(32) if self.keys is None else digest(chain_id, "key", self.keys.attachment())
        return struct.pack("<BBHIQ32s", 11, 0, 0, index, self.epoch, named)


Item = Union[Quote, Cancel, Seal, Vote, Emission, Candidacy]


@dataclass(frozen=True)
class Reveal:
    """Opens a seal: its salt and its quotes, each of this contract and round."""

    participant: int
    contract: int
    salt: bytes
    quotes: Sequence[Quote]
    round: int = 1

    def __post_init__(self) -> None:
        if any((quote.contract, quote.round) != (self.contract, self.round) for quote in self.quotes):
            raise ValueError("a quote of another contract or round")
        if len(self.salt) != 32:
            raise ValueError("a salt has 32 bytes")

    def leaves(self) -> list[bytes]:
        """Its quotes, 48 bytes each."""
        return [quote.leaf(index) for index, quote in enumerate(self.quotes)]

    def commitment(self, chain_id: bytes) -> bytes:
        """What a seal commits to: `D("seal", participant, contract, round, count, salt, root)`."""
        leaves = self.leaves()
        numbers = struct.pack("<QQII", self.participant, self.contract, self.round, len(leaves))
        return digest(chain_id, "seal", numbers, self.salt, tree_root(leaves))

    def seal(self, chain_id: bytes, bond_class: int = 0) -> Seal:
        """The seal that this opens."""
        return Seal(self.contract, self.commitment(chain_id), self.round, bond_class)


@dataclass(frozen=True)
class Meter:
    """A metering point. Energies are the greatest per quarter hour, in Wh; kind 1 load, 2 clean generation, 3 storage, 4 grid."""

    meter: int
    import_cap_wh: int
    export_cap_wh: int
    kind: int = 1

    def entry(self) -> bytes:
        """Its 32 bytes."""
        return struct.pack("<QQQII", self.meter, self.import_cap_wh, self.export_cap_wh, self.kind, 0)


class Role(enum.IntFlag):
    """What an account may do."""

    BUYER = 1
    SELLER = 2
    AGGREGATOR = 4
    GRID = 8
    METER_AUTHORITY = 16
    REGULATOR = 32
    DELEGATE = 64


@dataclass(frozen=True)
class Registration:
    """An account, as its registrar admits it: the registrar signs `admit_digest` with Ed25519."""

    participant: int
    roles: Role
    not_after_ns: int
    meters: Sequence[Meter] = ()
    session_spki: bytes = bytes(32)
    group: bytes = bytes(32)

    def body(self, public_key: bytes) -> bytes:
        """R: the 216 bytes that the registrar and the key's owner sign."""
        root = tree_root([meter.entry() for meter in self.meters])
        numbers = struct.pack("<IIQQ", self.roles, 0, self.participant, self.not_after_ns)
        return numbers + struct.pack("<96s32s32s32s", public_key, self.session_spki, self.group, root)

    def admit_digest(self, chain_id: bytes, public_key: bytes) -> bytes:
        """What the registrar signs."""
        return digest(chain_id, "admit", self.body(public_key))


def _header(template: int, block: int) -> bytes:
    return struct.pack("<HHHH", block, template, SCHEMA_ID, SCHEMA_VERSION)


def envelope_header(participant: int, key_version: int, nonce: int, not_after_ns: int, leaves: Sequence[bytes]) -> bytes:
    """H: the 72 bytes that are signed."""
    root = tree_root(leaves)
    return struct.pack("<HHIQIIQQ32s", 1, 0, len(leaves), participant, key_version, 0, nonce, not_after_ns, root)


def envelope(
    chain_id: bytes,
    key: SigningKey,
    participant: int,
    nonce: int,
    not_after_ns: int,
    items: Sequence[Item],
    key_version: int = 1,
) -> bytes:
    """A signed Envelope, as the message that carries it; with a candidate's keys, a Candidacy. It carries those of one."""
    leaves = [
        item.leaf(index, chain_id) if isinstance(item, Candidacy) else item.leaf(index) for index, item in enumerate(items)
    ]
    attached = [
        struct.pack("<II", index, 0) + item.keys.attachment()
        for index, item in enumerate(items)
        if isinstance(item, Candidacy) and item.keys is not None
    ]
    if len(attached) > 1:
        raise ValueError("an envelope carries the keys of one candidacy")
    header = envelope_header(participant, key_version, nonce, not_after_ns, leaves)
    signature = key.sign(digest(chain_id, "envelope", header))
    group = struct.pack("<HH", 48, len(leaves)) + b"".join(leaves)
    if attached:
        return _header(Templates.CANDIDACY, 304) + header + signature + attached[0] + group
    return _header(Templates.ENVELOPE, 120) + header + signature + group


def logon(chain_id: bytes, challenge: bytes, key: SigningKey, participant: int, grade: int) -> bytes:
    """A Logon that answers a challenge."""
    body = struct.pack("<QB7x", participant, grade)
    signature = key.sign(digest(chain_id, "logon", challenge, body))
    return _header(Templates.LOGON, 64) + body + signature


def on_disconnect(signed: Optional[bytes]) -> bytes:
    """Deposits an `envelope` of cancels for the end of the session; `None` withdraws it."""
    body = bytes(120) + struct.pack("<HH", 48, 0) if signed is None else signed[8:]
    return _header(Templates.ON_DISCONNECT, 120) + body


def register(chain_id: bytes, key: SigningKey, registration: Registration, admit: bytes) -> bytes:
    """A RegisterAccount with the registrar's signature and the key's proof of possession."""
    if len(admit) != 64:
        raise ValueError("a registrar's signature has 64 bytes")
    body = registration.body(key.public_key())
    possession = key.prove_possession(digest(chain_id, "register", body))
    group = struct.pack("<HH", 32, len(registration.meters)) + b"".join(m.entry() for m in registration.meters)
    return _header(Templates.REGISTER_ACCOUNT, 328) + body + admit + possession + group


def reveal(opened: Reveal) -> bytes:
    """A Reveal, which nobody signs: whoever knows the salt may open the seal."""
    leaves = opened.leaves()
    body = struct.pack("<QQII32s", opened.participant, opened.contract, opened.round, 0, opened.salt)
    return _header(Templates.REVEAL, 56) + body + struct.pack("<HH", 48, len(leaves)) + b"".join(leaves)
