"""Bytes and signatures against the vectors of the Rust tests, some of which code made that is nobody's here."""

from __future__ import annotations

import json
import struct
import unittest
from pathlib import Path
from typing import Any

from wattbook import messages, orders, signing, soupbin
from wattbook.messages import DecodeError, Side, decode, to_json

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"


def load(name: str) -> Any:
    return json.loads((GOLDEN / name).read_text())


class Signed(unittest.TestCase):
    def test_roots_digests_and_signatures_are_those_of_another_implementation(self) -> None:
        for row in load("wire.json"):
            leaves = [bytes.fromhex(leaf) for leaf in row["leaves"]]
            self.assertEqual(signing.tree_root(leaves).hex(), row["root"])
            chain = bytes.fromhex(row["chain_id"])
            digest = signing.digest(chain, "envelope", bytes.fromhex(row["envelope"]))
            self.assertEqual(digest.hex(), row["envelope_digest"])
        # One signature is enough to hold the curve to them; each takes a while in pure Python.
        key = signing.SigningKey(int(row["sk"], 16))
        self.assertEqual(key.sign(digest).hex(), row["signature"])

    def test_an_envelope_has_the_golden_header_and_leaves(self) -> None:
        for row in load("wire.json"):
            header = bytes.fromhex(row["envelope"])
            leaves = [bytes.fromhex(leaf) for leaf in row["leaves"]]
            made = orders.envelope_header(
                row["participant"],
                int.from_bytes(header[16:20], "little"),
                int.from_bytes(header[24:32], "little"),
                int.from_bytes(header[32:40], "little"),
                leaves,
            )
            self.assertEqual(made, header)
            for index, leaf in enumerate(leaves):
                if leaf[0] == 1 and leaf[2:4] == b"\0\0":
                    self.assertEqual(quote_of(leaf).leaf(index), leaf)
                elif leaf[0] == 2:
                    self.assertEqual(cancel_of(leaf).leaf(index), leaf)

    def test_a_registration_and_a_reveal_have_the_layout_of_the_schema(self) -> None:
        meters = [orders.Meter(7, 1_000, 2_000, kind=2)]
        registration = orders.Registration(42, orders.Role.BUYER | orders.Role.SELLER, 9, meters)
        key = signing.SigningKey.from_seed(bytes(32), 42)
        public_key = key.public_key()
        body = registration.body(public_key)
        self.assertEqual((len(body), body[:4], body[8:16]), (216, b"\3\0\0\0", (42).to_bytes(8, "little")))
        self.assertEqual(body[184:], signing.tree_root([meters[0].entry()]))
        self.assertNotEqual(registration.admit_digest(bytes(32), public_key), registration.admit_digest(body[:32], public_key))
        message = orders.register(bytes(32), key, registration, bytes(64))
        self.assertEqual(message[:8], struct.pack("<HHHH", 328, 2, messages.SCHEMA_ID, messages.SCHEMA_VERSION))
        self.assertEqual((message[8:224], message[336:]), (body, b"\x20\0\1\0" + meters[0].entry()))
        self.assertRaises(ValueError, orders.register, bytes(32), key, registration, bytes(63))

        secret = signing.client_secret(bytes(32), 42)
        salt = signing.reveal_salt(secret, bytes(32), 5, 1)
        self.assertNotEqual(salt, signing.reveal_salt(secret, bytes(32), 5, 2))
        quote = orders.Quote(5, Side.BUY, 100, 1_000, round=1)
        opened = orders.Reveal(42, 5, salt, [quote])
        seal = opened.seal(bytes(32), bond_class=3)
        self.assertEqual(seal.leaf(2)[:8], b"\4\3\1\0\2\0\0\0")
        self.assertEqual(seal.leaf(2)[16:], opened.commitment(bytes(32)))
        message = orders.reveal(opened)
        self.assertEqual((len(message), message[64:]), (8 + 56 + 4 + 48, b"\x30\0\1\0" + quote.leaf(0)))
        with self.assertRaises(ValueError):
            orders.Reveal(42, 5, salt, [orders.Quote(5, Side.BUY, 100, 1_000)])
        self.assertEqual(orders.on_disconnect(None)[8:], bytes(120) + b"\x30\0\0\0")

    def test_a_candidacy_carries_the_keys_that_its_leaf_names(self) -> None:
        key = signing.SigningKey.from_seed(bytes(32), 42)
        keys = orders.CandidateKeys(bytes(range(32)), bytes(96), bytes(48))
        stands, votes = orders.Candidacy(7, keys), orders.Vote(7, 42)
        message = orders.envelope(bytes(32), key, 42, 1, 9, [votes, stands])
        self.assertEqual(message[:8], struct.pack("<HHHH", 304, 7, messages.SCHEMA_ID, messages.SCHEMA_VERSION))
        self.assertEqual(message[128:136], b"\1\0\0\0\0\0\0\0")
        self.assertEqual(message[136:312], keys.attachment())
        leaf = stands.leaf(1, bytes(32))
        self.assertEqual(message[312:], b"\x30\0\2\0" + votes.leaf(0) + leaf)
        self.assertEqual(leaf[:16], b"\x0b\0\0\0\1\0\0\0" + (7).to_bytes(8, "little"))
        self.assertEqual(leaf[16:], signing.digest(bytes(32), "key", keys.attachment()))
        self.assertEqual(orders.Candidacy(7).leaf(0, bytes(32))[16:], bytes(32))
        with self.assertRaises(ValueError):
            orders.envelope(bytes(32), key, 42, 1, 9, [stands, stands])
        with self.assertRaises(ValueError):
            orders.CandidateKeys(bytes(31), bytes(96), bytes(48))

    def test_a_key_does_not_show_its_secret(self) -> None:
        key = signing.SigningKey.from_seed(bytes(32), 4)
        self.assertEqual(repr(key), "SigningKey(...)")
        with self.assertRaises(ValueError):
            signing.SigningKey(0)
        with self.assertRaises(ValueError):
            signing.SigningKey.from_seed(bytes(31), 4)


def u(leaf: bytes, at: int, size: int, signed: bool = False) -> int:
    return int.from_bytes(leaf[at : at + size], "little", signed=signed)


def quote_of(leaf: bytes) -> orders.Quote:
    flags = leaf[1]
    return orders.Quote(
        contract=u(leaf, 8, 8),
        client_order_id=u(leaf, 16, 8),
        price=u(leaf, 24, 4, True),
        charge_cap=u(leaf, 28, 4, True),
        energy_wh=u(leaf, 32, 4),
        min_fill_wh=u(leaf, 36, 4),
        display_wh=u(leaf, 40, 4),
        valid_until_s=u(leaf, 44, 4),
        side=Side(flags & 3),
        time_in_force=orders.TimeInForce(flags >> 2 & 7),
        market_to_limit=bool(flags >> 5 & 1),
        self_trade=orders.SelfTrade(flags >> 6),
    )


def cancel_of(leaf: bytes) -> orders.Cancel:
    return orders.Cancel(u(leaf, 8, 8), u(leaf, 16, 8), u(leaf, 24, 4))


class Messages(unittest.TestCase):
    def forms(self) -> list[tuple[str, bytes]]:
        return [(name, bytes.fromhex(form)) for name, row in load("events.json").items() for form in row if form]

    def test_every_form_of_every_event_is_read(self) -> None:
        seen = set()
        for name, form in self.forms():
            message = decode(form)
            self.assertEqual(type(message).__name__, name)
            self.assertEqual(to_json(message, 3)["fields"]["seq"], int.from_bytes(form[8:16], "little"))
            seen.add(message.TEMPLATE)
        self.assertEqual(seen, {template for template in messages._MESSAGES if template >= 100})

    def test_cut_changed_and_longer_messages(self) -> None:
        for _, form in self.forms():
            for length in range(len(form)):
                self.assertRaises(DecodeError, decode, form[:length])
            self.assertRaises(DecodeError, decode, form + b"\0")
            for at in range(len(form)):
                changed = bytearray(form)
                changed[at] ^= 0x55
                try:
                    decode(bytes(changed))
                except DecodeError:
                    pass
            # A later version has more, which is skipped.
            later = bytearray(form + b"\1" * 8)
            later[0:2] = (len(form) - 8 + 8).to_bytes(2, "little")
            later[6] += 1
            self.assertEqual(decode(bytes(later)), decode(form))


class Framing(unittest.TestCase):
    def test_packets_come_back_whatever_the_pieces(self) -> None:
        stream = soupbin.encode("S", b"abc") + soupbin.encode("H") + soupbin.encode("U", bytes(300)) + soupbin.encode("Z")
        for size in (1, 2, 3, 7, len(stream)):
            decoder = soupbin.Decoder()
            packets: list[soupbin.Packet] = []
            for at in range(0, len(stream), size):
                decoder.feed(stream[at : at + size])
                packets += decoder.packets()
            self.assertEqual([packet.kind for packet in packets], list("SHUZ"))
            self.assertEqual([len(packet.payload) for packet in packets], [3, 0, 300, 0])

    def test_what_no_server_sends_is_refused(self) -> None:
        for stream in (b"\0\0S", b"\0\1L", b"\0\1\xff"):
            decoder = soupbin.Decoder()
            decoder.feed(stream)
            with self.assertRaises(soupbin.FramingError):
                list(decoder.packets())
        for payload in (b"", b"PRIVATE   " + b" " * 20, b"PRIVATE   " + b"-1".rjust(20), b"\xff" * 30):
            with self.assertRaises(soupbin.FramingError):
                soupbin.login_accepted(payload)
        with self.assertRaises(ValueError):
            soupbin.encode("U", bytes(65_535))


if __name__ == "__main__":
    unittest.main()
