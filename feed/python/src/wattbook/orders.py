"""What a participant signs: quotes and cancels as leaves, envelopes of them."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import Sequence, Union

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

    def leaf(self, index: int) -> bytes:
        """Its 48 bytes at this place of an envelope."""
        flags = self.side | self.time_in_force << 2 | self.market_to_limit << 5 | self.self_trade << 6
        numbers = (self.price, self.charge_cap, self.energy_wh, self.min_fill_wh, self.display_wh, self.valid_until_s)
        return struct.pack("<BBHIQQiiIIII", 1, flags, 0, index, self.contract, self.client_order_id, *numbers)


@dataclass(frozen=True)
class Cancel:
    """Takes orders out of the book: one, an envelope's, or all; of one contract or, with 0, of all."""

    contract: int = 0
    target_nonce: int = 0
    target_index: int = ALL_INDEXES

    def leaf(self, index: int) -> bytes:
        """Its 48 bytes at this place of an envelope."""
        return struct.pack("<BBHIQQI20x", 2, 0, 0, index, self.contract, self.target_nonce, self.target_index)


Item = Union[Quote, Cancel]


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
    """A signed Envelope, as the message that carries it."""
    leaves = [item.leaf(index) for index, item in enumerate(items)]
    header = envelope_header(participant, key_version, nonce, not_after_ns, leaves)
    signature = key.sign(digest(chain_id, "envelope", header))
    group = struct.pack("<HH", 48, len(leaves)) + b"".join(leaves)
    return _header(Templates.ENVELOPE, 120) + header + signature + group


def logon(chain_id: bytes, challenge: bytes, key: SigningKey, participant: int, grade: int) -> bytes:
    """A Logon that answers a challenge."""
    body = struct.pack("<QB7x", participant, grade)
    signature = key.sign(digest(chain_id, "logon", challenge, body))
    return _header(Templates.LOGON, 64) + body + signature
