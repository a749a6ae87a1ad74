"""Checks a light client's bundle with somebody else's BLS library: `python wattbook_light.py genesis.bin bundle.json`.

Needs py-arkworks-bls12381 from PyPI and nothing of Wattbook. The bundle's format is documented in docs/light-client.md. Prints
one line and exits with 0 if everything holds, with 1 and the reason if not.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from dataclasses import dataclass
from typing import Any, Sequence

from py_arkworks_bls12381 import GT, G1Point, G2Point

DST = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_"
GENESIS_MAGIC = b"wattbook/genesis/1".ljust(32, b"\0")
EPOCH_BLOCKS_PARAM, EPOCH_BLOCKS_DEFAULT = 58, 6_000
HEADER_SIZE, CERTIFICATE_SIZE = 352, 120


class NotProven(Exception):
    """Something does not hold."""


def need(holds: bool, what: str) -> None:
    """Raises unless it holds."""
    if not holds:
        raise NotProven(what)


def digest(name: str, chain: bytes, body: bytes) -> bytes:
    """D(name, body): SHA-256 over a tag of 32 bytes, the chain, the body."""
    return hashlib.sha256(f"wattbook/1/{name}".encode().ljust(32, b"\0") + chain + body).digest()


def uvarint(value: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


@dataclass(frozen=True)
class Member:
    """A delegate as a committee's digest names it."""

    participant: int
    peer_key: bytes
    ballot_key: bytes

    def encode(self) -> bytes:
        return struct.pack("<Q", self.participant) + self.peer_key + self.ballot_key


@dataclass(frozen=True)
class Header:
    """The fields of a block's header that matter here."""

    raw: bytes
    height: int
    epoch: int
    record_count: int
    first_seq: int
    chain: bytes
    parent: bytes
    record_root: bytes
    next_committee: bytes

    @classmethod
    def read(cls, raw: bytes) -> Header:
        need(len(raw) == HEADER_SIZE, "a header has 352 bytes")
        height, epoch, _view, _time, records, _events, first = struct.unpack_from("<7Q", raw, 8)
        return cls(raw, height, epoch, records, first, raw[64:96], raw[96:128], raw[128:160], raw[320:352])

    def digest(self) -> bytes:
        return digest("block", self.chain, self.raw)


@dataclass(frozen=True)
class Genesis:
    """Chain, length of an epoch, committee of epoch 0."""

    chain: bytes
    epoch_blocks: int
    committee: tuple[Member, ...]

    @classmethod
    def read(cls, data: bytes) -> Genesis:
        need(data[:32] == GENESIS_MAGIC, "not a genesis")
        at = 32 + 32 + 16 + 2 + 2 + 8 + 32 + 32 + 32
        (accounts,) = struct.unpack_from("<I", data, at)
        at += 4 + accounts * (216 + 48)
        (params,) = struct.unpack_from("<I", data, at)
        at += 4
        epoch_blocks = EPOCH_BLOCKS_DEFAULT
        for _ in range(params):
            param, _zero, value = struct.unpack_from("<IIq", data, at)
            at += 16
            if param == EPOCH_BLOCKS_PARAM:
                epoch_blocks = value
        (seats,) = struct.unpack_from("<I", data, at)
        at += 4
        members = []
        for _ in range(seats):
            (participant,) = struct.unpack_from("<Q", data, at)
            members.append(Member(participant, data[at + 8 : at + 40], data[at + 40 : at + 136]))
            at += 136
        need(at == len(data) and seats > 0, "no genesis of a chain with delegates")
        return cls(hashlib.sha256(data).digest(), epoch_blocks, tuple(members))


def check_certificate(chain: bytes, epoch: int, committee: Sequence[Member], header: Header, data: bytes) -> int:
    """Checks a certificate of a block; how many delegates signed."""
    need(len(data) == CERTIFICATE_SIZE, "a certificate has 120 bytes")
    version, seats, zero, of_epoch, view, parent_view = struct.unpack_from("<HHIQQQ", data)
    need(version == 1 and zero == 0, "no certificate of this version")
    need(of_epoch == epoch and seats == len(committee), "a certificate of another committee")
    need(data[32:64] == header.digest(), f"not the certificate of block {header.height}")
    (signers,) = struct.unpack_from("<Q", data, 64)
    need(signers >> seats == 0, "a signer without a seat")
    keys = [member.ballot_key for rank, member in enumerate(committee) if signers >> rank & 1]
    need(len(keys) >= seats - (seats - 1) // 3, "too few signers")
    namespace = b"wattbook/1/ballot".ljust(32, b"\0") + chain
    suffix = b"_FINALIZE"
    signed = uvarint(len(namespace) + len(suffix)) + namespace + suffix
    signed += uvarint(epoch) + uvarint(view) + uvarint(parent_view) + data[32:64]
    try:
        points = [G2Point.from_compressed_bytes(key) for key in keys]
        signature = G1Point.from_compressed_bytes(data[72:])
    except ValueError as error:
        raise NotProven(f"a point of the certificate of block {header.height}: {error}") from error
    total = points[0]
    for point in points[1:]:
        total = total + point
    need(total != G2Point.identity() and signature != G1Point.identity(), "a point at infinity")
    message = G1Point.hash_to_curve(signed, DST)
    holds = GT.pairing(signature, G2Point()) == GT.pairing(message, total)
    need(holds, f"the certificate of block {header.height} does not hold")
    return len(keys)


def check_path(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """RFC 9162, 2.1.3.2."""
    node, last, at = hashlib.sha256(b"\0" + leaf).digest(), size - 1, index
    for sibling in path:
        if last == 0:
            return False
        if at & 1 or at == last:
            node = hashlib.sha256(b"\1" + sibling + node).digest()
            while at & 1 == 0 and at:
                at, last = at >> 1, last >> 1
        else:
            node = hashlib.sha256(b"\1" + node + sibling).digest()
        at, last = at >> 1, last >> 1
    return last == 0 and node == root


def check(genesis: Genesis, bundle: dict[str, Any]) -> str:
    """Checks all of a bundle; what it proves."""
    need(bundle["version"] == 1 and bytes.fromhex(bundle["chain"]) == genesis.chain, "a bundle of another chain")
    epoch, committee = 0, genesis.committee
    for border in bundle["borders"]:
        header = Header.read(bytes.fromhex(border["header"]))
        need(header.chain == genesis.chain, "a header of another chain")
        ends = header.height > 0 and header.height % genesis.epoch_blocks == 0
        need(ends and header.epoch == epoch and (header.height - 1) // genesis.epoch_blocks == epoch, "no end of an epoch")
        check_certificate(genesis.chain, epoch, committee, header, bytes.fromhex(border["certificate"]))
        members = tuple(
            Member(m["participant"], bytes.fromhex(m["peer_key"]), bytes.fromhex(m["ballot_key"]))
            for m in border["committee"]
        )
        body = struct.pack("<Q", epoch + 1) + b"".join(member.encode() for member in members)
        need(digest("committee", genesis.chain, body) == header.next_committee, f"not the committee of epoch {epoch + 1}")
        epoch, committee = epoch + 1, members
    headers = [Header.read(bytes.fromhex(raw)) for raw in bundle["headers"]]
    need(len(headers) > 0 and all(header.chain == genesis.chain for header in headers), "headers of another chain")
    for parent, child in zip(headers, headers[1:]):
        need(child.parent == parent.digest() and child.height == parent.height + 1, "a header does not follow")
    signers = check_certificate(genesis.chain, epoch, committee, headers[-1], bytes.fromhex(bundle["certificate"]))
    record, block = bundle["record"], headers[0]
    payload = bytes.fromhex(record["payload"])
    leaf = struct.pack("<HHIQ", record["kind"], record["version"], len(payload), record["seq"]) + payload
    index = record["seq"] - block.first_seq
    path = [bytes.fromhex(node) for node in record["path"]]
    is_in = 0 <= index < block.record_count and check_path(leaf, index, block.record_count, path, block.record_root)
    need(is_in, f"record {record['seq']} is not in block {block.height}")
    return f"record {record['seq']} is in block {block.height}, certified by {signers} of {len(committee)} in epoch {epoch}"


def main(arguments: Sequence[str]) -> int:
    """Checks the files named on the command line."""
    if len(arguments) != 2:
        print("usage: wattbook_light.py GENESIS BUNDLE", file=sys.stderr)
        return 2
    with open(arguments[0], "rb") as file:
        genesis = file.read()
    with open(arguments[1], encoding="utf-8") as file:
        text = file.read()
    try:
        print(check(Genesis.read(genesis), json.loads(text)))
    except (NotProven, KeyError, TypeError, ValueError, struct.error, OverflowError) as error:
        print(f"not proven: {error!s}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
