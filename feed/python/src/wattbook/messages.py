"""Messages of the feed: a dataclass each, and their decoder. Written from feed/src by the test `python_is_current`; do not
edit.

Integers are as they travel: prices in ticks, half ticks or micro-points, energies in Wh, money in nano-points, as each field
says. A message of a later version is read as far as it is known; what an earlier one lacks is zero."""

from __future__ import annotations

import dataclasses
import enum
import struct
from dataclasses import dataclass
from typing import Any, ClassVar, Optional, Sequence, Union

SCHEMA_ID = 1
"""Id of the schema."""
SCHEMA_VERSION = 6
"""Version of the schema."""
SCHEMA_VERSION_FIRST = 2
"""Earliest version that is understood."""


class Templates(enum.IntEnum):
    """Template ids of what a client sends."""

    LOGON = 1
    REGISTER_ACCOUNT = 2
    ENVELOPE = 3
    REVEAL = 4
    STEP = 5
    ON_DISCONNECT = 6
    CANDIDACY = 7


class Aggressor(enum.IntEnum):
    """A number of the schema; `docs/schema.md` says what each means."""

    NONE = 0
    BUY = 1
    SELL = 2


class CloseReason(enum.IntEnum):
    """A number of the schema; `docs/schema.md` says what each means."""

    FILLED = 1
    CANCELLED = 2
    REPLACED = 3
    REVEALED = 4
    IMMEDIATE_OR_CANCEL = 5
    FILL_OR_KILL = 6
    SELF_TRADE = 7
    EXPIRED = 8
    GATE_CLOSED = 9
    SUSPENDED = 10
    NO_COUNTERPARTY = 11
    PRICE_NOT_MET = 12
    OUT_OF_RANGE = 13
    EXHAUSTED = 14
    CHARGE_CAP = 15
    NO_MARKET = 16


class Grade(enum.IntEnum):
    """A number of the schema; `docs/schema.md` says what each means."""

    MATCHED = 1
    DURABLE = 2
    FINAL = 3


class HaltReason(enum.IntEnum):
    """A number of the schema; `docs/schema.md` says what each means."""

    END_OF_DAY = 1
    STOPPING = 2
    LEDGER_FAILED = 3
    DISK_FULL = 4


class HeldKind(enum.IntEnum):
    """A number of the schema; `docs/schema.md` says what each means."""

    REGISTER = 1
    ENVELOPE = 2
    REVEAL = 3
    ON_DISCONNECT = 4


class Phase(enum.IntEnum):
    """A number of the schema; `docs/schema.md` says what each means."""

    SEAL = 1
    REVEAL = 2
    RANKED = 3
    MATCHED = 4
    CONTINUOUS = 5
    GATE_CLOSED = 6
    DELIVERING = 7
    METERING = 8
    SETTLED = 9
    CLOSED = 10


class Reject(enum.IntEnum):
    """A number of the schema; `docs/schema.md` says what each means."""

    GARBAGE = 1
    OVERSIZE_FRAME = 2
    SHORT_FRAME = 3
    UNKNOWN_MESSAGE = 4
    MALFORMED_MESSAGE = 5
    NOT_LOGGED_ON = 6
    LOGON_REFUSED = 7
    NOT_THIS_PARTICIPANT = 8
    STEP_REFUSED = 9
    TOO_MANY_SESSIONS = 10
    SESSION_SUSPENDED = 11
    NOT_ACCEPTING = 12
    TOO_MANY_FROM_ADDRESS = 13
    TOO_MANY_OF_PARTICIPANT = 14
    MESSAGE_RATE = 15
    BYTE_RATE = 16
    NODE_RATE = 17
    LOGONS_EXHAUSTED = 18
    TIMED_OUT = 19
    BAD_ADMISSION = 20
    BAD_KEY = 21
    BAD_PROOF_OF_POSSESSION = 22
    BAD_METERS = 23
    ALREADY_REGISTERED = 24
    KEY_TAKEN = 25
    METER_TAKEN = 26
    ADMISSION_EXPIRED = 27
    BAD_ROLES = 28
    SLOW_CONSUMER = 30
    HELD_TOO_MANY = 31
    UNKNOWN_PARTICIPANT = 40
    BAD_COUNT = 41
    BAD_ROOT = 42
    BAD_SIGNATURE = 43
    WRONG_KEY_VERSION = 44
    EXPIRED = 45
    TTL_TOO_LONG = 46
    NONCE_OUT_OF_WINDOW = 47
    DUPLICATE = 48
    SUSPENDED = 49
    QUOTA = 50
    MALFORMED_ITEM = 60
    UNKNOWN_ITEM = 61
    ROLE_MISSING = 62
    NOT_ENABLED = 63
    UNKNOWN_CONTRACT = 64
    GATE_CLOSED = 65
    HALTED = 66
    NOT_IN_PHASE = 67
    WRONG_ROUND = 68
    ALREADY_SEALED = 69
    BOND_CLASS_OUT_OF_RANGE = 70
    PRICE_OUT_OF_BOUNDS = 71
    ENERGY_ZERO = 72
    ENERGY_OUT_OF_BOUNDS = 73
    CHARGE_CAP_OUT_OF_BOUNDS = 74
    MIN_FILL_OUT_OF_BOUNDS = 75
    NOTIONAL_TOO_LARGE = 76
    CONCESSION_VIOLATED = 77
    BID_BELOW_FLOOR = 78
    CAPACITY_EXCEEDED = 79
    NO_BALANCE = 80
    UNKNOWN_ORDER = 81
    WOULD_CROSS = 82
    VALID_UNTIL_PAST = 83
    CLIENT_ORDER_ID_USED = 84
    DISPLAY_OUT_OF_BOUNDS = 85
    NO_SEAL = 100
    REVEAL_MISMATCH = 101
    REVEAL_EARLY = 102
    REVEAL_LATE = 103
    ALREADY_REVEALED = 104
    NOT_REVEALED = 105
    REVEAL_UNFUNDED = 106
    REVEAL_NOT_CONCEDING = 107
    BOND_EXCEEDED = 108
    TIME_IN_FORCE_NOT_SEALED = 109
    UNKNOWN_DEAL = 120
    NOT_COUNTERPARTY = 121
    ALREADY_RATED = 122
    DEALS_DIGEST_MISMATCH = 123
    COUNTERSIGN_LATE = 124
    UNKNOWN_METER = 125
    METER_NOT_IN_PERIOD = 126
    READING_OUT_OF_BOUNDS = 127
    STALE_REVISION = 128
    METER_FROZEN = 129
    UNKNOWN_PARAM = 130
    PARAM_OUT_OF_BOUNDS = 131
    UNKNOWN_ACTION = 132
    PARAM_FIXED = 133
    WRONG_EPOCH = 140
    UNKNOWN_CANDIDATE = 141
    STAKE_FORFEITED = 142
    STALE_EMISSION = 143
    BAD_CANDIDACY = 144
    OTHER_CHAIN = 150
    EVIDENCE_OUT_OF_TIME = 151
    NOT_SEATED = 152
    ALREADY_JUDGED = 153


class Side(enum.IntEnum):
    """A number of the schema; `docs/schema.md` says what each means."""

    BUY = 1
    SELL = 2


@dataclass(frozen=True)
class DealEntry:
    """The deal record whose digest is the deal's id."""

    contract: int
    """Contract traded."""
    ordinal: int
    """Number of the deal within its contract, from 0."""
    buyer: int
    """The buyer's account."""
    buyer_nonce: int
    """Nonce of the bid's envelope."""
    buyer_index: int
    """Index of the bid."""
    seller: int
    """The seller's account."""
    seller_nonce: int
    """Nonce of the ask's envelope."""
    seller_index: int
    """Index of the ask."""
    price: int
    """Price of the energy, half ticks."""
    energy_wh: int
    """Energy, Wh."""
    c1: int
    """Network charge C1, ticks."""
    c2: int
    """Network charge C2, ticks."""
    c3: int
    """Network charge C3, ticks."""
    congestion: int
    """Congestion fee, ticks."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> DealEntry:
        """The values of its block, in order."""
        return cls(
            contract=v[0],
            ordinal=v[1],
            buyer=v[2],
            buyer_nonce=v[3],
            buyer_index=v[4],
            seller=v[5],
            seller_nonce=v[6],
            seller_index=v[7],
            price=v[8],
            energy_wh=v[9],
            c1=v[10],
            c2=v[11],
            c3=v[12],
            congestion=v[13],
        )


@dataclass(frozen=True)
class OrderView:
    """An order, named or by reference."""

    participant: int
    """Owner: account id if named, else the pseudonym within the contract."""
    nonce: int
    """Nonce of its envelope if named, else 0."""
    index: int
    """Index of its leaf if named, else 0."""
    named: bool
    """Whether the owner is named."""
    reference: int
    """The order's public name, the same for every reader."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> OrderView:
        """The values of its block, in order."""
        return cls(
            participant=v[0],
            nonce=v[1],
            index=v[2],
            named=_boolean(v[3]),
            reference=v[4],
        )


@dataclass(frozen=True)
class Party:
    """A participant, named or under its pseudonym."""

    id: int
    """Account id if named, else the pseudonym within the contract."""
    named: bool
    """Whether the id is an account's."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> Party:
        """The values of its block, in order."""
        return cls(
            id=v[0],
            named=_boolean(v[1]),
        )


@dataclass(frozen=True)
class Challenge:
    """First message of a private session: what a logon signs."""

    TEMPLATE: ClassVar[int] = 20

    challenge: bytes
    """Fresh random bytes."""
    chain_id: bytes
    """The chain this node serves."""
    demo: bool
    """Whether its genesis is a demonstration."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> Challenge:
        """The values of its block, in order."""
        return cls(
            challenge=v[0],
            chain_id=v[1],
            demo=_boolean(v[2]),
        )


@dataclass(frozen=True)
class LoggedOn:
    """The logon holds."""

    TEMPLATE: ClassVar[int] = 21

    participant: int
    """The account."""
    next_nonce: int
    """Least nonce that is surely unused: the window's base + 1 or above."""
    grade: Grade
    """Grade of the acknowledgements."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> LoggedOn:
        """The values of its block, in order."""
        return cls(
            participant=v[0],
            next_nonce=v[1],
            grade=Grade(v[2]),
        )


@dataclass(frozen=True)
class Held:
    """Verified and held: until the next Step (lockstep), or until the session ends."""

    TEMPLATE: ClassVar[int] = 22

    participant: int
    """Sender."""
    nonce: int
    """Nonce of the envelope; 0 for a registration, a reveal or a withdrawal."""
    kind: HeldKind
    """What is held."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> Held:
        """The values of its block, in order."""
        return cls(
            participant=v[0],
            nonce=v[1],
            kind=HeldKind(v[2]),
        )


@dataclass(frozen=True)
class RejectedMessage:
    """A message was refused as a whole and is not recorded."""

    TEMPLATE: ClassVar[int] = 23

    participant: int
    """Sender, as far as known."""
    nonce: int
    """Nonce of the envelope; 0 for any other message."""
    contract: int
    """Contract of the reveal; 0 for any other message."""
    code: Reject
    """Why."""
    original_seq: int
    """For Duplicate, the sequence number the nonce was used at; else 0."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> RejectedMessage:
        """The values of its block, in order."""
        return cls(
            participant=v[0],
            nonce=v[1],
            contract=v[2],
            code=Reject(v[3]),
            original_seq=v[4],
        )


@dataclass(frozen=True)
class Watermark:
    """Everything up to here has reached a grade."""

    TEMPLATE: ClassVar[int] = 24

    grade: Grade
    """The grade."""
    height: int
    """Last block."""
    seq: int
    """Last record."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> Watermark:
        """The values of its block, in order."""
        return cls(
            grade=Grade(v[0]),
            height=v[1],
            seq=v[2],
        )


@dataclass(frozen=True)
class BlockSealed:
    """A block was sealed."""

    TEMPLATE: ClassVar[int] = 25

    height: int
    """Its height."""
    time_ns: int
    """Its time, ns since the epoch."""
    record_count: int
    """Records in it."""
    event_count: int
    """Public events in it."""
    first_seq: int
    """Sequence number of its first record."""
    block_digest: bytes
    """D("block", header)."""
    state_root: bytes
    """Root of the state after it."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> BlockSealed:
        """The values of its block, in order."""
        return cls(
            height=v[0],
            time_ns=v[1],
            record_count=v[2],
            event_count=v[3],
            first_seq=v[4],
            block_digest=v[5],
            state_root=v[6],
        )


@dataclass(frozen=True)
class Stepped:
    """A Step has been carried out; every answer it caused has been sent before."""

    TEMPLATE: ClassVar[int] = 26

    time_ns: int
    """Time now, ns since the epoch."""
    height: int
    """Last block."""
    seq: int
    """Last record."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> Stepped:
        """The values of its block, in order."""
        return cls(
            time_ns=v[0],
            height=v[1],
            seq=v[2],
        )


@dataclass(frozen=True)
class DealRecord:
    """A deal with real accounts, for whoever recomputes what the grid company signs."""

    TEMPLATE: ClassVar[int] = 27

    seq: int
    """Sequence number of the record that made it."""
    height: int
    """Block in which it was made."""
    record: DealEntry
    """The record that is hashed."""
    deal_id: bytes
    """D("deal", record)."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> DealRecord:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            height=v[1],
            record=DealEntry.of(v[2:16]),
            deal_id=v[16],
        )


@dataclass(frozen=True)
class Halted:
    """The node takes nothing more."""

    TEMPLATE: ClassVar[int] = 28

    reason: HaltReason
    """Why."""
    seq: int
    """Last record."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> Halted:
        """The values of its block, in order."""
        return cls(
            reason=HaltReason(v[0]),
            seq=v[1],
        )


@dataclass(frozen=True)
class EventEnd:
    """The last change that a record makes to the books has been told: what they show is whole."""

    TEMPLATE: ClassVar[int] = 29

    seq: int
    """Sequence number of the record."""
    changes: int
    """Messages of this record that tell a change: Opened, Reduced, Closed, Executed."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> EventEnd:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            changes=v[1],
        )


@dataclass(frozen=True)
class SnapshotOrder:
    """An order of a snapshot; contracts come ascending, bids before asks, each in price-time order."""

    TEMPLATE: ClassVar[int] = 30

    contract: int
    """Contract."""
    reference: int
    """The order's public name."""
    participant: int
    """Pseudonym of its owner within the contract."""
    price: int
    """Limit, ticks."""
    leaves_wh: int
    """Open quantity as far as shown, Wh."""
    side: Side
    """Side."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> SnapshotOrder:
        """The values of its block, in order."""
        return cls(
            contract=v[0],
            reference=v[1],
            participant=v[2],
            price=v[3],
            leaves_wh=v[4],
            side=Side(v[5]),
        )


@dataclass(frozen=True)
class SnapshotEnd:
    """The end of a snapshot of the books."""

    TEMPLATE: ClassVar[int] = 31

    next: int
    """Number of the public message that comes next."""
    height: int
    """Block under way when the books stood like this."""
    seq: int
    """Last record before."""
    orders: int
    """Orders told."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> SnapshotEnd:
        """The values of its block, in order."""
        return cls(
            next=v[0],
            height=v[1],
            seq=v[2],
            orders=v[3],
        )


@dataclass(frozen=True)
class Revoked:
    """What was told of blocks that are not final is given up, and the session ends: whoever logs on again begins before it."""

    TEMPLATE: ClassVar[int] = 32

    height: int
    """First block that is given up."""
    seq: int
    """Its first record."""
    next: int
    """Number of the message that comes next when the session is resumed."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> Revoked:
        """The values of its block, in order."""
        return cls(
            height=v[0],
            seq=v[1],
            next=v[2],
        )


@dataclass(frozen=True)
class Registered:
    """An account was opened."""

    TEMPLATE: ClassVar[int] = 100

    seq: int
    """Sequence number of the record that caused it."""
    participant: Party
    """The account."""
    minted: int
    """Points minted for it, nano-points."""
    roles: int
    """Its role bits."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> Registered:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            participant=Party.of(v[1:3]),
            minted=v[3],
            roles=v[4],
        )


@dataclass(frozen=True)
class Accepted:
    """Private: an item was accepted."""

    TEMPLATE: ClassVar[int] = 101

    seq: int
    """Sequence number of the record that caused it."""
    participant: Party
    """Sender."""
    nonce: int
    """Envelope."""
    index: int
    """Item."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> Accepted:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            participant=Party.of(v[1:3]),
            nonce=v[3],
            index=v[4],
        )


@dataclass(frozen=True)
class Rejected:
    """Private: an item was refused."""

    TEMPLATE: ClassVar[int] = 102

    seq: int
    """Sequence number of the record that caused it."""
    participant: Party
    """Sender."""
    nonce: int
    """Envelope."""
    index: int
    """Item."""
    code: Reject
    """Why."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> Rejected:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            participant=Party.of(v[1:3]),
            nonce=v[3],
            index=v[4],
            code=Reject(v[5]),
        )


@dataclass(frozen=True)
class RevealAccepted:
    """Private: a reveal was accepted; it takes effect when REVEAL closes."""

    TEMPLATE: ClassVar[int] = 103

    seq: int
    """Sequence number of the record that caused it."""
    participant: Party
    """Sender."""
    contract: int
    """Contract."""
    round: int
    """Round, from 1."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> RevealAccepted:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            participant=Party.of(v[1:3]),
            contract=v[3],
            round=v[4],
        )


@dataclass(frozen=True)
class Sealed:
    """A seal took effect and its bond is locked."""

    TEMPLATE: ClassVar[int] = 104

    seq: int
    """Sequence number of the record that caused it."""
    participant: Party
    """Sender."""
    contract: int
    """Contract."""
    bond: int
    """The bond, nano-points."""
    round: int
    """Round, from 1."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> Sealed:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            participant=Party.of(v[1:3]),
            contract=v[3],
            bond=v[4],
            round=v[5],
        )


@dataclass(frozen=True)
class SealVoided:
    """Private: a seal came to nothing when SEAL closed."""

    TEMPLATE: ClassVar[int] = 105

    seq: int
    """Sequence number of the record that caused it."""
    participant: Party
    """Sender."""
    contract: int
    """Contract."""
    round: int
    """Round, from 1."""
    code: Reject
    """Why."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> SealVoided:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            participant=Party.of(v[1:3]),
            contract=v[3],
            round=v[4],
            code=Reject(v[5]),
        )


@dataclass(frozen=True)
class BondReleased:
    """Private: a bond is free again."""

    TEMPLATE: ClassVar[int] = 106

    seq: int
    """Sequence number of the record that caused it."""
    participant: Party
    """Sender of the seal."""
    contract: int
    """Contract."""
    bond: int
    """The bond, nano-points."""
    round: int
    """Round, from 1."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> BondReleased:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            participant=Party.of(v[1:3]),
            contract=v[3],
            bond=v[4],
            round=v[5],
        )


@dataclass(frozen=True)
class BondBurned:
    """A bond was burned."""

    TEMPLATE: ClassVar[int] = 107

    seq: int
    """Sequence number of the record that caused it."""
    participant: Party
    """Sender of the seal."""
    contract: int
    """Contract."""
    bond: int
    """The bond, nano-points."""
    round: int
    """Round, from 1."""
    code: Reject
    """Why."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> BondBurned:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            participant=Party.of(v[1:3]),
            contract=v[3],
            bond=v[4],
            round=v[5],
            code=Reject(v[6]),
        )


@dataclass(frozen=True)
class QuoteVoided:
    """Private: a revealed quote is void."""

    TEMPLATE: ClassVar[int] = 108

    seq: int
    """Sequence number of the record that caused it."""
    order: OrderView
    """The order it would have been."""
    contract: int
    """Contract."""
    code: Reject
    """Why."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> QuoteVoided:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            order=OrderView.of(v[1:6]),
            contract=v[6],
            code=Reject(v[7]),
        )


@dataclass(frozen=True)
class PhaseChanged:
    """A cycle entered a phase."""

    TEMPLATE: ClassVar[int] = 109

    seq: int
    """Sequence number of the record that caused it."""
    contract: int
    """Contract."""
    time_ns: int
    """Time of the border, ns since the epoch."""
    round: int
    """Round, from 1."""
    phase: Phase
    """The phase."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> PhaseChanged:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            contract=v[1],
            time_ns=v[2],
            round=v[3],
            phase=Phase(v[4]),
        )


@dataclass(frozen=True)
class Ranked:
    """Reputation and place of a participant, fixed at gate opening."""

    TEMPLATE: ClassVar[int] = 110

    seq: int
    """Sequence number of the record that caused it."""
    contract: int
    """Contract."""
    participant: Party
    """Who."""
    reputation: int
    """R of Eq 4, ppm."""
    percentile: int
    """Percentile, ppm; 0 is best."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> Ranked:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            contract=v[1],
            participant=Party.of(v[2:4]),
            reputation=v[4],
            percentile=v[5],
        )


@dataclass(frozen=True)
class Range:
    """Place in the queue and matchable range of a participant, fixed at RANK."""

    TEMPLATE: ClassVar[int] = 111

    seq: int
    """Sequence number of the record that caused it."""
    contract: int
    """Contract."""
    participant: Party
    """Who."""
    pos: int
    """Place, from 1."""
    range: int
    """Matchable range."""
    round: int
    """Round, from 1."""
    side: Side
    """Side."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> Range:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            contract=v[1],
            participant=Party.of(v[2:4]),
            pos=v[4],
            range=v[5],
            round=v[6],
            side=Side(v[7]),
        )


@dataclass(frozen=True)
class Charges:
    """The network charges of a contract."""

    TEMPLATE: ClassVar[int] = 112

    seq: int
    """Sequence number of the record that caused it."""
    contract: int
    """Contract."""
    c1: int
    """C1, ticks."""
    c2: int
    """C2, ticks."""
    c3: int
    """C3, ticks."""
    congestion: int
    """Congestion fee, ticks."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> Charges:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            contract=v[1],
            c1=v[2],
            c2=v[3],
            c3=v[4],
            congestion=v[5],
        )


@dataclass(frozen=True)
class Cep:
    """The competitive equilibrium price."""

    TEMPLATE: ClassVar[int] = 113

    seq: int
    """Sequence number of the record that caused it."""
    contract: int
    """Contract."""
    cep: int
    """Weighted by recency, micro-points/MWh."""
    volume_weighted: int
    """Weighted by volume, micro-points/MWh."""
    deals: int
    """Deals that entered it."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> Cep:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            contract=v[1],
            cep=v[2],
            volume_weighted=v[3],
            deals=v[4],
        )


@dataclass(frozen=True)
class VolatilityAlarm:
    """The CEP moved by more than the regulator's alarm."""

    TEMPLATE: ClassVar[int] = 114

    seq: int
    """Sequence number of the record that caused it."""
    contract: int
    """Contract."""
    previous: int
    """Before, micro-points/MWh."""
    cep: int
    """Now, micro-points/MWh."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> VolatilityAlarm:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            contract=v[1],
            previous=v[2],
            cep=v[3],
        )


@dataclass(frozen=True)
class UniformPrice:
    """The price of a uniform round."""

    TEMPLATE: ClassVar[int] = 115

    seq: int
    """Sequence number of the record that caused it."""
    contract: int
    """Contract."""
    price: int
    """The price, ticks."""
    volume_wh: int
    """Energy that clears at it, Wh."""
    lost_wh: int
    """Energy of it lost to ranges, groups or caps, Wh."""
    round: int
    """Round, from 1."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> UniformPrice:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            contract=v[1],
            price=v[2],
            volume_wh=v[3],
            lost_wh=v[4],
            round=v[5],
        )


@dataclass(frozen=True)
class Opened:
    """An order rests in the book, or shows its next slice."""

    TEMPLATE: ClassVar[int] = 116

    seq: int
    """Sequence number of the record that caused it."""
    order: OrderView
    """The order."""
    contract: int
    """Contract."""
    price: int
    """Limit, ticks."""
    leaves_wh: int
    """Open quantity, Wh; in public as far as shown."""
    side: Side
    """Side."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> Opened:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            order=OrderView.of(v[1:6]),
            contract=v[6],
            price=v[7],
            leaves_wh=v[8],
            side=Side(v[9]),
        )


@dataclass(frozen=True)
class Reduced:
    """An order was reduced in place."""

    TEMPLATE: ClassVar[int] = 117

    seq: int
    """Sequence number of the record that caused it."""
    order: OrderView
    """The order, by its new name."""
    was: OrderView
    """Its old name."""
    contract: int
    """Contract."""
    price: int
    """Limit, ticks."""
    leaves_wh: int
    """Open quantity, Wh; in public as far as shown."""
    side: Side
    """Side."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> Reduced:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            order=OrderView.of(v[1:6]),
            was=OrderView.of(v[6:11]),
            contract=v[11],
            price=v[12],
            leaves_wh=v[13],
            side=Side(v[14]),
        )


@dataclass(frozen=True)
class Closed:
    """An order is no longer open."""

    TEMPLATE: ClassVar[int] = 118

    seq: int
    """Sequence number of the record that caused it."""
    order: OrderView
    """The order."""
    contract: int
    """Contract."""
    price: int
    """Limit, ticks."""
    leaves_wh: int
    """Quantity never filled, Wh; in public as far as shown."""
    side: Side
    """Side."""
    reason: CloseReason
    """Why."""
    resting: bool
    """Whether it stood in the book."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> Closed:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            order=OrderView.of(v[1:6]),
            contract=v[6],
            price=v[7],
            leaves_wh=v[8],
            side=Side(v[9]),
            reason=CloseReason(v[10]),
            resting=_boolean(v[11]),
        )


@dataclass(frozen=True)
class Unmatched:
    """Energy that found no deal: of a round, where it rests on, or of an order that goes with it."""

    TEMPLATE: ClassVar[int] = 119

    seq: int
    """Sequence number of the record that caused it."""
    order: OrderView
    """The order."""
    contract: int
    """Contract."""
    leaves_wh: int
    """Unfilled quantity, Wh, as far as shown."""
    side: Side
    """Side."""
    reason: CloseReason
    """Why."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> Unmatched:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            order=OrderView.of(v[1:6]),
            contract=v[6],
            leaves_wh=v[7],
            side=Side(v[8]),
            reason=CloseReason(v[9]),
        )


@dataclass(frozen=True)
class Executed:
    """A deal was made."""

    TEMPLATE: ClassVar[int] = 120

    seq: int
    """Sequence number of the record that caused it."""
    contract: int
    """Contract."""
    ordinal: int
    """Number of the deal within its contract, from 0."""
    buyer: OrderView
    """The bid."""
    seller: OrderView
    """The ask."""
    price: int
    """Price of the energy, half ticks."""
    energy_wh: int
    """Energy dealt, Wh."""
    bid: int
    """The bid's limit, ticks."""
    ask: int
    """The ask's limit, ticks."""
    buyer_leaves_wh: int
    """Open quantity of the bid afterwards, Wh; in public as far as shown."""
    seller_leaves_wh: int
    """Open quantity of the ask afterwards, Wh; in public as far as shown."""
    deal_id: bytes
    """Digest of the deal record for a party; zero in public, where it could be searched for accounts."""
    c1: int
    """C1, ticks."""
    c2: int
    """C2, ticks."""
    c3: int
    """C3, ticks."""
    congestion: int
    """Congestion fee, ticks."""
    aggressor: Aggressor
    """Side that took."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> Executed:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            contract=v[1],
            ordinal=v[2],
            buyer=OrderView.of(v[3:8]),
            seller=OrderView.of(v[8:13]),
            price=v[13],
            energy_wh=v[14],
            bid=v[15],
            ask=v[16],
            buyer_leaves_wh=v[17],
            seller_leaves_wh=v[18],
            deal_id=v[19],
            c1=v[20],
            c2=v[21],
            c3=v[22],
            congestion=v[23],
            aggressor=Aggressor(v[24]),
        )


@dataclass(frozen=True)
class DealsSealed:
    """The deals of a contract in a block are to be countersigned."""

    TEMPLATE: ClassVar[int] = 121

    seq: int
    """Sequence number of the record that caused it."""
    contract: int
    """Contract."""
    height: int
    """The block."""
    count: int
    """How many."""
    deals_digest: bytes
    """What the grid company signs, for ledger readers; zero in public."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> DealsSealed:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            contract=v[1],
            height=v[2],
            count=v[3],
            deals_digest=v[4],
        )


@dataclass(frozen=True)
class Contracted:
    """The grid company has countersigned: the deals are contracts."""

    TEMPLATE: ClassVar[int] = 122

    seq: int
    """Sequence number of the record that caused it."""
    contract: int
    """Contract."""
    height: int
    """Block of the deals."""
    first: int
    """First ordinal."""
    count: int
    """How many."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> Contracted:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            contract=v[1],
            height=v[2],
            first=v[3],
            count=v[4],
        )


@dataclass(frozen=True)
class DealVoided:
    """A deal is void: not countersigned in time."""

    TEMPLATE: ClassVar[int] = 123

    seq: int
    """Sequence number of the record that caused it."""
    contract: int
    """Contract."""
    ordinal: int
    """The deal."""
    buyer: Party
    """Buyer."""
    seller: Party
    """Seller."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> DealVoided:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            contract=v[1],
            ordinal=v[2],
            buyer=Party.of(v[3:5]),
            seller=Party.of(v[5:7]),
        )


@dataclass(frozen=True)
class Metered:
    """Private: a meter reading was recorded."""

    TEMPLATE: ClassVar[int] = 124

    seq: int
    """Sequence number of the record that caused it."""
    participant: Party
    """Owner of the meter."""
    meter: int
    """The metering point."""
    contract: int
    """Contract."""
    import_wh: int
    """Withdrawal, Wh."""
    export_wh: int
    """Injection, Wh."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> Metered:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            participant=Party.of(v[1:3]),
            meter=v[3],
            contract=v[4],
            import_wh=v[5],
            export_wh=v[6],
        )


@dataclass(frozen=True)
class MeterFrozen:
    """A meter was frozen by conflicting readings."""

    TEMPLATE: ClassVar[int] = 125

    seq: int
    """Sequence number of the record that caused it."""
    participant: Party
    """Owner of the meter."""
    meter: int
    """The metering point for its owner; 0 in public."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> MeterFrozen:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            participant=Party.of(v[1:3]),
            meter=v[3],
        )


@dataclass(frozen=True)
class Settled:
    """A contract was settled by meter."""

    TEMPLATE: ClassVar[int] = 126

    seq: int
    """Sequence number of the record that caused it."""
    contract: int
    """Contract."""
    ordinal: int
    """The deal."""
    buyer: Party
    """Buyer."""
    seller: Party
    """Seller."""
    contracted_wh: int
    """Energy dealt, Wh."""
    settled_wh: int
    """Energy settled, Wh."""
    energy_paid: int
    """Paid by the buyer for energy, nano-points; received, if negative."""
    charge_paid: int
    """Paid to the grid company, nano-points."""
    buyer_penalty: int
    """Penalty paid by the buyer, nano-points."""
    seller_penalty: int
    """Penalty paid by the seller, nano-points."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> Settled:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            contract=v[1],
            ordinal=v[2],
            buyer=Party.of(v[3:5]),
            seller=Party.of(v[5:7]),
            contracted_wh=v[7],
            settled_wh=v[8],
            energy_paid=v[9],
            charge_paid=v[10],
            buyer_penalty=v[11],
            seller_penalty=v[12],
        )


@dataclass(frozen=True)
class Balanced:
    """Metered energy outside any deal, traded with the grid company."""

    TEMPLATE: ClassVar[int] = 127

    seq: int
    """Sequence number of the record that caused it."""
    contract: int
    """Contract."""
    participant: Party
    """Who."""
    energy_wh: int
    """Energy, Wh."""
    paid: int
    """Paid by the participant, nano-points; received, if negative."""
    unpaid: int
    """What the payer's free balance did not cover, nano-points."""
    side: Side
    """Sell: surplus export. Buy: import beyond deals."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> Balanced:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            contract=v[1],
            participant=Party.of(v[2:4]),
            energy_wh=v[4],
            paid=v[5],
            unpaid=v[6],
            side=Side(v[7]),
        )


@dataclass(frozen=True)
class CleanMinted:
    """Points were minted for settled clean energy."""

    TEMPLATE: ClassVar[int] = 128

    seq: int
    """Sequence number of the record that caused it."""
    contract: int
    """Contract."""
    participant: Party
    """Seller."""
    energy_wh: int
    """Energy, Wh."""
    minted: int
    """Points, nano-points."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> CleanMinted:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            contract=v[1],
            participant=Party.of(v[2:4]),
            energy_wh=v[4],
            minted=v[5],
        )


@dataclass(frozen=True)
class DealRated:
    """A deal was rated by a party."""

    TEMPLATE: ClassVar[int] = 129

    seq: int
    """Sequence number of the record that caused it."""
    contract: int
    """Contract."""
    ordinal: int
    """The deal."""
    participant: Party
    """Who is rated."""
    good: bool
    """Whether it was good."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> DealRated:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            contract=v[1],
            ordinal=v[2],
            participant=Party.of(v[3:5]),
            good=_boolean(v[5]),
        )


@dataclass(frozen=True)
class Rated:
    """A participant's reputation after a closed cycle."""

    TEMPLATE: ClassVar[int] = 130

    seq: int
    """Sequence number of the record that caused it."""
    contract: int
    """Contract."""
    participant: Party
    """Who."""
    reputation: int
    """R of Eq 4 now, ppm."""
    entered: int
    """Cycles with an order in the window."""
    traded: int
    """Cycles with a fill."""
    good: int
    """Cycles rated good."""
    declined: int
    """Declined cycles in the window."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> Rated:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            contract=v[1],
            participant=Party.of(v[2:4]),
            reputation=v[4],
            entered=v[5],
            traded=v[6],
            good=v[7],
            declined=v[8],
        )


@dataclass(frozen=True)
class Configured:
    """A parameter will change at the next gate opening."""

    TEMPLATE: ClassVar[int] = 131

    seq: int
    """Sequence number of the record that caused it."""
    value: int
    """To what."""
    param: int
    """Id of the parameter."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> Configured:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            value=v[1],
            param=v[2],
        )


@dataclass(frozen=True)
class ParamsInForce:
    """The parameters changed."""

    TEMPLATE: ClassVar[int] = 132

    seq: int
    """Sequence number of the record that caused it."""
    params_hash: bytes
    """Their digest."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> ParamsInForce:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            params_hash=v[1],
        )


@dataclass(frozen=True)
class MarketHalted:
    """Trading was halted in a contract or the area."""

    TEMPLATE: ClassVar[int] = 133

    seq: int
    """Sequence number of the record that caused it."""
    contract: int
    """Contract; 0 the area."""
    reason: int
    """The regulator's code."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> MarketHalted:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            contract=v[1],
            reason=v[2],
        )


@dataclass(frozen=True)
class MarketResumed:
    """Trading was resumed."""

    TEMPLATE: ClassVar[int] = 134

    seq: int
    """Sequence number of the record that caused it."""
    contract: int
    """Contract; 0 the area."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> MarketResumed:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            contract=v[1],
        )


@dataclass(frozen=True)
class Suspension:
    """A participant was suspended or reinstated."""

    TEMPLATE: ClassVar[int] = 135

    seq: int
    """Sequence number of the record that caused it."""
    participant: Party
    """Who."""
    reason: int
    """The regulator's code."""
    suspended: bool
    """Whether it is suspended now."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> Suspension:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            participant=Party.of(v[1:3]),
            reason=v[3],
            suspended=_boolean(v[4]),
        )


@dataclass(frozen=True)
class Ticked:
    """Time moved on."""

    TEMPLATE: ClassVar[int] = 136

    seq: int
    """Sequence number of the record that caused it."""
    time_ns: int
    """The time, ns since the epoch."""

    @classmethod
    def of(cls, v: Sequence[Any]) -> Ticked:
        """The values of its block, in order."""
        return cls(
            seq=v[0],
            time_ns=v[1],
        )


Message = Union[
    Challenge,
    LoggedOn,
    Held,
    RejectedMessage,
    Watermark,
    BlockSealed,
    Stepped,
    DealRecord,
    Halted,
    EventEnd,
    SnapshotOrder,
    SnapshotEnd,
    Revoked,
    Registered,
    Accepted,
    Rejected,
    RevealAccepted,
    Sealed,
    SealVoided,
    BondReleased,
    BondBurned,
    QuoteVoided,
    PhaseChanged,
    Ranked,
    Range,
    Charges,
    Cep,
    VolatilityAlarm,
    UniformPrice,
    Opened,
    Reduced,
    Closed,
    Unmatched,
    Executed,
    DealsSealed,
    Contracted,
    DealVoided,
    Metered,
    MeterFrozen,
    Settled,
    Balanced,
    CleanMinted,
    DealRated,
    Rated,
    Configured,
    ParamsInForce,
    MarketHalted,
    MarketResumed,
    Suspension,
    Ticked,
]
"""Any message of a node."""


class DecodeError(Exception):
    """The bytes are no outbound message of this schema; the next message can be read."""


def _boolean(raw: int) -> bool:
    if raw > 1:
        raise ValueError(f"{raw} is neither yes nor no")
    return raw == 1


def decode(message: bytes) -> Message:
    """The message in these bytes, which it fills exactly unless it is of a later version."""
    if len(message) < 8:
        raise DecodeError(f"{len(message)} bytes end before the message does")
    length, template, schema, version = struct.unpack_from("<HHHH", message)
    if schema != SCHEMA_ID or version < SCHEMA_VERSION_FIRST:
        raise DecodeError(f"schema {schema} version {version} is not schema {SCHEMA_ID}")
    known = _MESSAGES.get(template)
    if known is None:
        raise DecodeError(f"template {template} is unknown")
    kind, block, sizes = known
    if len(message) < 8 + length:
        raise DecodeError(f"{len(message)} bytes end before the message does")
    size = sizes.get(version, block.size)
    if length < size or version <= SCHEMA_VERSION and (length > size or len(message) > 8 + length):
        raise DecodeError(f"a block of {length} bytes is none of template {template}")
    try:
        return kind.of(block.unpack(message[8 : 8 + size].ljust(block.size, b"\0")))
    except ValueError as error:
        raise DecodeError(f"template {template}: {error}") from error


def _fields(value: Any) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        member = getattr(value, field.name)
        if isinstance(member, enum.IntEnum):
            out[field.name] = int(member)
            out[f"{field.name}_name"] = _NAMES[type(member).__name__][int(member)]
        elif isinstance(member, bytes):
            out[field.name] = member.hex()
        elif dataclasses.is_dataclass(member):
            out[field.name] = _fields(member)
        else:
            out[field.name] = member
    return out


def to_json(message: Message, seq: Optional[int] = None) -> dict[str, Any]:
    """What `wattbook tail --json` says of a message: hashes in hex, enumerations by number and by name."""
    return {
        "seq": seq,
        "template": message.TEMPLATE,
        "name": type(message).__name__,
        "fields": _fields(message),
    }


# Class, block, and the block's size in versions that had less of it.
_MESSAGES: dict[int, tuple[type[Message], struct.Struct, dict[int, int]]] = {
    20: (Challenge, struct.Struct("<32s32sB7x"), {}),
    21: (LoggedOn, struct.Struct("<QQB7x"), {}),
    22: (Held, struct.Struct("<QQB7x"), {}),
    23: (RejectedMessage, struct.Struct("<QQQH6xQ"), {}),
    24: (Watermark, struct.Struct("<B7xQQ"), {}),
    25: (BlockSealed, struct.Struct("<QQQQQ32s32s"), {}),
    26: (Stepped, struct.Struct("<QQQ"), {}),
    27: (DealRecord, struct.Struct("<QQQQQQI4xQQI4xqQiiii32s"), {}),
    28: (Halted, struct.Struct("<B7xQ"), {}),
    29: (EventEnd, struct.Struct("<QQ"), {}),
    30: (SnapshotOrder, struct.Struct("<QQQqQB7x"), {}),
    31: (SnapshotEnd, struct.Struct("<QQQQ"), {}),
    32: (Revoked, struct.Struct("<QQQ"), {}),
    100: (Registered, struct.Struct("<QQB7xqI4x"), {}),
    101: (Accepted, struct.Struct("<QQB7xQI4x"), {}),
    102: (Rejected, struct.Struct("<QQB7xQIH2x"), {}),
    103: (RevealAccepted, struct.Struct("<QQB7xQH6x"), {}),
    104: (Sealed, struct.Struct("<QQB7xQqH6x"), {}),
    105: (SealVoided, struct.Struct("<QQB7xQHH4x"), {}),
    106: (BondReleased, struct.Struct("<QQB7xQqH6x"), {}),
    107: (BondBurned, struct.Struct("<QQB7xQqHH4x"), {}),
    108: (QuoteVoided, struct.Struct("<QQQIB3xQQH6x"), {}),
    109: (PhaseChanged, struct.Struct("<QQQHB5x"), {}),
    110: (Ranked, struct.Struct("<QQQB7xII"), {}),
    111: (Range, struct.Struct("<QQQB7xIIHB5x"), {}),
    112: (Charges, struct.Struct("<QQiiii"), {}),
    113: (Cep, struct.Struct("<QQqqI4x"), {}),
    114: (VolatilityAlarm, struct.Struct("<QQqq"), {}),
    115: (UniformPrice, struct.Struct("<QQqQQH6x"), {}),
    116: (Opened, struct.Struct("<QQQIB3xQQqQB7x"), {}),
    117: (Reduced, struct.Struct("<QQQIB3xQQQIB3xQQqQB7x"), {}),
    118: (Closed, struct.Struct("<QQQIB3xQQqQBBB5x"), {}),
    119: (Unmatched, struct.Struct("<QQQIB3xQQQBB6x"), {}),
    120: (Executed, struct.Struct("<QQQQQIB3xQQQIB3xQqQqqQQ32siiiiB7x"), {}),
    121: (DealsSealed, struct.Struct("<QQQQ32s"), {}),
    122: (Contracted, struct.Struct("<QQQQQ"), {}),
    123: (DealVoided, struct.Struct("<QQQQB7xQB7x"), {}),
    124: (Metered, struct.Struct("<QQB7xQQQQ"), {}),
    125: (MeterFrozen, struct.Struct("<QQB7xQ"), {}),
    126: (Settled, struct.Struct("<QQQQB7xQB7xQQqqqq"), {}),
    127: (Balanced, struct.Struct("<QQQB7xQqqB7x"), {}),
    128: (CleanMinted, struct.Struct("<QQQB7xQq"), {}),
    129: (DealRated, struct.Struct("<QQQQB7xB7x"), {}),
    130: (Rated, struct.Struct("<QQQB7xIIIII4x"), {}),
    131: (Configured, struct.Struct("<QqI4x"), {}),
    132: (ParamsInForce, struct.Struct("<Q32s"), {}),
    133: (MarketHalted, struct.Struct("<QQI4x"), {}),
    134: (MarketResumed, struct.Struct("<QQ"), {}),
    135: (Suspension, struct.Struct("<QQB7xIB3x"), {}),
    136: (Ticked, struct.Struct("<QQ"), {}),
}

_NAMES: dict[str, dict[int, str]] = {
    "Aggressor": {
        0: "None",
        1: "Buy",
        2: "Sell",
    },
    "CloseReason": {
        1: "Filled",
        2: "Cancelled",
        3: "Replaced",
        4: "Revealed",
        5: "ImmediateOrCancel",
        6: "FillOrKill",
        7: "SelfTrade",
        8: "Expired",
        9: "GateClosed",
        10: "Suspended",
        11: "NoCounterparty",
        12: "PriceNotMet",
        13: "OutOfRange",
        14: "Exhausted",
        15: "ChargeCap",
        16: "NoMarket",
    },
    "Grade": {
        1: "Matched",
        2: "Durable",
        3: "Final",
    },
    "HaltReason": {
        1: "EndOfDay",
        2: "Stopping",
        3: "LedgerFailed",
        4: "DiskFull",
    },
    "HeldKind": {
        1: "Register",
        2: "Envelope",
        3: "Reveal",
        4: "OnDisconnect",
    },
    "Phase": {
        1: "Seal",
        2: "Reveal",
        3: "Ranked",
        4: "Matched",
        5: "Continuous",
        6: "GateClosed",
        7: "Delivering",
        8: "Metering",
        9: "Settled",
        10: "Closed",
    },
    "Reject": {
        1: "Garbage",
        2: "OversizeFrame",
        3: "ShortFrame",
        4: "UnknownMessage",
        5: "MalformedMessage",
        6: "NotLoggedOn",
        7: "LogonRefused",
        8: "NotThisParticipant",
        9: "StepRefused",
        10: "TooManySessions",
        11: "SessionSuspended",
        12: "NotAccepting",
        13: "TooManyFromAddress",
        14: "TooManyOfParticipant",
        15: "MessageRate",
        16: "ByteRate",
        17: "NodeRate",
        18: "LogonsExhausted",
        19: "TimedOut",
        20: "BadAdmission",
        21: "BadKey",
        22: "BadProofOfPossession",
        23: "BadMeters",
        24: "AlreadyRegistered",
        25: "KeyTaken",
        26: "MeterTaken",
        27: "AdmissionExpired",
        28: "BadRoles",
        30: "SlowConsumer",
        31: "HeldTooMany",
        40: "UnknownParticipant",
        41: "BadCount",
        42: "BadRoot",
        43: "BadSignature",
        44: "WrongKeyVersion",
        45: "Expired",
        46: "TtlTooLong",
        47: "NonceOutOfWindow",
        48: "Duplicate",
        49: "Suspended",
        50: "Quota",
        60: "MalformedItem",
        61: "UnknownItem",
        62: "RoleMissing",
        63: "NotEnabled",
        64: "UnknownContract",
        65: "GateClosed",
        66: "Halted",
        67: "NotInPhase",
        68: "WrongRound",
        69: "AlreadySealed",
        70: "BondClassOutOfRange",
        71: "PriceOutOfBounds",
        72: "EnergyZero",
        73: "EnergyOutOfBounds",
        74: "ChargeCapOutOfBounds",
        75: "MinFillOutOfBounds",
        76: "NotionalTooLarge",
        77: "ConcessionViolated",
        78: "BidBelowFloor",
        79: "CapacityExceeded",
        80: "NoBalance",
        81: "UnknownOrder",
        82: "WouldCross",
        83: "ValidUntilPast",
        84: "ClientOrderIdUsed",
        85: "DisplayOutOfBounds",
        100: "NoSeal",
        101: "RevealMismatch",
        102: "RevealEarly",
        103: "RevealLate",
        104: "AlreadyRevealed",
        105: "NotRevealed",
        106: "RevealUnfunded",
        107: "RevealNotConceding",
        108: "BondExceeded",
        109: "TimeInForceNotSealed",
        120: "UnknownDeal",
        121: "NotCounterparty",
        122: "AlreadyRated",
        123: "DealsDigestMismatch",
        124: "CountersignLate",
        125: "UnknownMeter",
        126: "MeterNotInPeriod",
        127: "ReadingOutOfBounds",
        128: "StaleRevision",
        129: "MeterFrozen",
        130: "UnknownParam",
        131: "ParamOutOfBounds",
        132: "UnknownAction",
        133: "ParamFixed",
        140: "WrongEpoch",
        141: "UnknownCandidate",
        142: "StakeForfeited",
        143: "StaleEmission",
        144: "BadCandidacy",
        150: "OtherChain",
        151: "EvidenceOutOfTime",
        152: "NotSeated",
        153: "AlreadyJudged",
    },
    "Side": {
        1: "Buy",
        2: "Sell",
    },
}

__all__ = [
    "Accepted",
    "Aggressor",
    "Balanced",
    "BlockSealed",
    "BondBurned",
    "BondReleased",
    "Cep",
    "Challenge",
    "Charges",
    "CleanMinted",
    "CloseReason",
    "Closed",
    "Configured",
    "Contracted",
    "DealEntry",
    "DealRated",
    "DealRecord",
    "DealVoided",
    "DealsSealed",
    "DecodeError",
    "EventEnd",
    "Executed",
    "Grade",
    "HaltReason",
    "Halted",
    "Held",
    "HeldKind",
    "LoggedOn",
    "MarketHalted",
    "MarketResumed",
    "Message",
    "MeterFrozen",
    "Metered",
    "Opened",
    "OrderView",
    "ParamsInForce",
    "Party",
    "Phase",
    "PhaseChanged",
    "QuoteVoided",
    "Range",
    "Ranked",
    "Rated",
    "Reduced",
    "Registered",
    "Reject",
    "Rejected",
    "RejectedMessage",
    "RevealAccepted",
    "Revoked",
    "SCHEMA_ID",
    "SCHEMA_VERSION",
    "SealVoided",
    "Sealed",
    "Settled",
    "Side",
    "SnapshotEnd",
    "SnapshotOrder",
    "Stepped",
    "Suspension",
    "Ticked",
    "UniformPrice",
    "Unmatched",
    "VolatilityAlarm",
    "Watermark",
    "decode",
    "to_json",
]
