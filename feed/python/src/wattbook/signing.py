"""Digests and signatures: domain-separated SHA-256, RFC 9162 roots, BLS12-381 with signatures in G1.

Signing needs py_ecc (`pip install 'wattbook-feed[sign]'`); everything else is the standard library."""

from __future__ import annotations

import hashlib
import hmac
from typing import Sequence

SIGNATURE_DST = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_"
"""Domain of signatures over digests."""

POSSESSION_DST = b"BLS_POP_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_"
"""Domain of proofs of possession."""

GROUP_ORDER = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
"""Order of the groups of BLS12-381."""


_MISSING = "to sign, pip install 'wattbook-feed[sign]'"


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


def _derive(seed: bytes, role: str, serial: int) -> bytes:
    """The secret of a role and serial under a seed."""
    if len(seed) != 32:
        raise ValueError("a seed has 32 bytes")
    return _expand(_extract(b"wattbook/1/keys", seed), role.encode("ascii") + b"\0" + serial.to_bytes(8, "little"), 32)


def client_secret(seed: bytes, participant: int) -> bytes:
    """The secret that salts a participant's seals, as `wattbook` derives it."""
    return _derive(seed, "client", participant)


def reveal_salt(secret: bytes, chain_id: bytes, contract: int, round: int) -> bytes:
    """The salt of a seal: who has lost everything but the client secret can still reveal."""
    info = b"seal\0" + contract.to_bytes(8, "little") + round.to_bytes(4, "little")
    return _expand(_extract(chain_id, secret), info, 32)


class SigningKey:
    """A participant's BLS key. Its secret is in no text that Python prints of it."""

    def __init__(self, scalar: int) -> None:
        if not 0 < scalar < GROUP_ORDER:
            raise ValueError("a key lies between 0 and the group's order")
        self._scalar = scalar

    @classmethod
    def from_seed(cls, seed: bytes, participant: int) -> SigningKey:
        """The key that `wattbook` derives from a participant's seed of 32 bytes."""
        return cls(_key_gen(_derive(seed, "participant", participant)))

    def sign(self, message: bytes) -> bytes:
        """SIG(digest): 48 bytes, compressed G1."""
        return self._sign(message, SIGNATURE_DST)

    def prove_possession(self, message: bytes) -> bytes:
        """The proof of possession over `D("register", R)`: 48 bytes, compressed G1."""
        return self._sign(message, POSSESSION_DST)

    def public_key(self) -> bytes:
        """96 bytes, compressed G2."""
        try:
            from py_ecc.bls.point_compression import compress_G2
            from py_ecc.optimized_bls12_381 import G2, multiply
        except ImportError as error:
            raise SigningUnavailable(_MISSING) from error
        return b"".join(int(half).to_bytes(48, "big") for half in compress_G2(multiply(G2, self._scalar)))

    def _sign(self, message: bytes, domain: bytes) -> bytes:
        try:
            from py_ecc.bls.hash_to_curve import hash_to_G1
            from py_ecc.bls.point_compression import compress_G1
            from py_ecc.optimized_bls12_381 import multiply
        except ImportError as error:
            raise SigningUnavailable(_MISSING) from error
        point = multiply(hash_to_G1(message, domain, hashlib.sha256), self._scalar)
        return int(compress_G1(point)).to_bytes(48, "big")

    def __repr__(self) -> str:
        return "SigningKey(...)"
