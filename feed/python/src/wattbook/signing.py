"""Digests and signatures: domain-separated SHA-256, RFC 9162 roots, BLS12-381 with signatures in G1.

Signing needs py_ecc (`pip install 'wattbook-feed[sign]'`); everything else is the standard library."""

from __future__ import annotations

import hashlib
import hmac
from typing import Sequence

SIGNATURE_DST = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_"
"""Domain of signatures over digests."""

GROUP_ORDER = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
"""Order of the groups of BLS12-381."""


class SigningUnavailable(Exception):
    """py_ecc is not installed."""


def digest(chain_id: bytes, name: str, *parts: bytes) -> bytes:
    """D(name, body): SHA-256 over "wattbook/1/" and the name, zero-padded to 32 bytes, the chain id and the body."""
    return hashlib.sha256(b"".join([f"wattbook/1/{name}".encode("ascii").ljust(32, b"\0"), chain_id, *parts])).digest()


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """The RFC 9162 root over leaves."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + tree_root(leaves[:split]) + tree_root(leaves[split:])).digest()


def _extract(salt: bytes, secret: bytes) -> bytes:
    return hmac.new(salt, secret, "sha256").digest()


def _expand(key: bytes, info: bytes, size: int) -> bytes:
    out, block, counter = b"", b"", 1
    while len(out) < size:
        block = hmac.new(key, block + info + bytes([counter]), "sha256").digest()
        out += block
        counter += 1
    return out[:size]


def _key_gen(material: bytes) -> int:
    """KeyGen of draft-irtf-cfrg-bls-signature-05 without key info."""
    salt = b"BLS-SIG-KEYGEN-SALT-"
    while True:
        salt = hashlib.sha256(salt).digest()
        scalar = int.from_bytes(_expand(_extract(salt, material + b"\0"), b"\0\x30", 48), "big") % GROUP_ORDER
        if scalar:
            return scalar


class SigningKey:
    """A participant's BLS key. Its secret is in no text that Python prints of it."""

    def __init__(self, scalar: int) -> None:
        if not 0 < scalar < GROUP_ORDER:
            raise ValueError("a key lies between 0 and the group's order")
        self._scalar = scalar

    @classmethod
    def from_seed(cls, seed: bytes, participant: int) -> SigningKey:
        """The key that `wattbook` derives from a participant's seed of 32 bytes."""
        if len(seed) != 32:
            raise ValueError("a seed has 32 bytes")
        info = b"participant\0" + participant.to_bytes(8, "little")
        return cls(_key_gen(_expand(_extract(b"wattbook/1/keys", seed), info, 32)))

    def sign(self, message: bytes) -> bytes:
        """SIG(digest): 48 bytes, compressed G1."""
        try:
            from py_ecc.bls.hash_to_curve import hash_to_G1
            from py_ecc.bls.point_compression import compress_G1
            from py_ecc.optimized_bls12_381 import multiply
        except ImportError as error:
            raise SigningUnavailable("to sign, pip install 'wattbook-feed[sign]'") from error
        point = multiply(hash_to_G1(message, SIGNATURE_DST, hashlib.sha256), self._scalar)
        return int(compress_G1(point)).to_bytes(48, "big")

    def __repr__(self) -> str:
        return "SigningKey(...)"
