"""MoldUDP64: framing, arbitration of two lines, and a subscriber of a server that loses packets."""

from __future__ import annotations

import random
import socket
import threading
import time
import unittest
from typing import Callable, Optional

from test_session import MESSAGES, Server, accept, sequenced

from wattbook import Disconnected, Lost, Subscriber, moldudp, soupbin
from wattbook.arbiter import PATIENCE_MAX_S, PATIENCE_S, REORDER_S, REQUESTS_MAX, Again, Arbiter, Resume, Wait
from wattbook.messages import decode

NAME = moldudp.session_name("PUBLIC")
Drops = Callable[[random.Random, int], bool]


def message_of(number: int) -> bytes:
    return number.to_bytes(8, "little")


def run(first: int, count: int) -> bytes:
    return moldudp.encode(NAME, first, [message_of(number) for number in range(first, first + count)])


def out(arbiter: Arbiter) -> list[int]:
    numbers = []
    while (popped := arbiter.pop()) is not None:
        assert popped[1] == message_of(popped[0])
        numbers.append(popped[0])
    return numbers


class Framing(unittest.TestCase):
    def test_the_bytes_are_the_specifications(self) -> None:
        packet = moldudp.encode(NAME, 0x0102030405060708, [b"abc", b""])
        self.assertEqual(packet, b"PUBLIC    \1\2\3\4\5\6\7\x08\0\2\0\3abc\0\0")
        read = moldudp.decode(packet)
        self.assertEqual((read.messages, read.ended, read.next_sequence), ([b"abc", b""], False, 0x010203040506070A))
        ended = moldudp.decode(moldudp.end_of_session(NAME, 9))
        self.assertEqual((ended.messages, ended.ended, ended.next_sequence), ([], True, 9))
        self.assertEqual(moldudp.request(NAME, 7, 1 << 40), NAME + b"\0" * 7 + b"\7\xff\xfe")
        self.assertRaises(ValueError, moldudp.session_name, "PUBLIC FEED")

    def test_cut_changed_and_longer_datagrams(self) -> None:
        whole = run(5, 3)
        for size in range(len(whole)):
            self.assertRaises(moldudp.MoldError, moldudp.decode, whole[:size])
        self.assertRaises(moldudp.MoldError, moldudp.decode, whole + b"\0")
        for heartbeat in (moldudp.encode(NAME, 5, []), moldudp.end_of_session(NAME, 5)):
            self.assertRaises(moldudp.MoldError, moldudp.decode, heartbeat + b"\0")
        self.assertRaises(moldudp.MoldError, moldudp.decode, NAME + b"\xff" * 8 + b"\0\1\0\0")
        for at in range(len(whole)):
            for bit in range(8):
                changed = bytearray(whole)
                changed[at] ^= 1 << bit
                try:
                    moldudp.decode(bytes(changed))
                except moldudp.MoldError:
                    pass


class Arbitration(unittest.TestCase):
    def test_the_first_copy_counts_and_the_other_line_closes_gaps(self) -> None:
        arbiter = Arbiter(NAME, 1)
        for packet in (run(1, 3), run(7, 2), run(1, 3)):
            self.assertTrue(arbiter.take(packet))
        self.assertEqual(out(arbiter), [1, 2, 3])
        self.assertTrue(arbiter.take(run(4, 4)))
        self.assertEqual(out(arbiter), [4, 5, 6, 7, 8])
        self.assertFalse(arbiter.take(moldudp.encode(b"OTHER     ", 9, [b"x"])))
        self.assertFalse(arbiter.take(b"nothing"))
        self.assertEqual((arbiter.duplicates, arbiter.foreign), (4, 2))

    def test_a_gap_is_asked_for_in_time_and_given_up_in_the_end(self) -> None:
        arbiter, now = Arbiter(NAME, 1), 100.0
        self.assertIsNone(arbiter.ask(now))
        for packet in (run(3, 2), run(9, 1), moldudp.encode(NAME, 12, [])):
            arbiter.take(packet)
        self.assertEqual(arbiter.ask(now), Wait(now + REORDER_S))
        now += REORDER_S
        missing = [moldudp.request(NAME, *gap) for gap in ((1, 2), (5, 4), (10, 2))]
        self.assertEqual(arbiter.ask(now), Again(missing, now + PATIENCE_S))
        arbiter.take(run(1, 2))
        self.assertEqual(out(arbiter), [1, 2, 3, 4])
        for asked in range(REQUESTS_MAX):
            again = arbiter.ask(now)
            assert isinstance(again, Again)
            self.assertEqual(again.requests, missing[1:])
            self.assertEqual(again.until, now + min(PATIENCE_S * 2**asked, PATIENCE_MAX_S))
            self.assertEqual(arbiter.ask(now), Wait(again.until))
            now = again.until
        self.assertEqual(arbiter.ask(now), Resume(5))

    def test_what_is_held_is_bounded(self) -> None:
        arbiter = Arbiter(NAME, 1, held_max=10)
        for first in range(2, 2_000, 7):
            arbiter.take(run(first, 7))
        self.assertEqual((len(arbiter._held), arbiter.end), (9, 2_004))
        arbiter.take(run(1, 1))
        self.assertEqual(out(arbiter), list(range(1, 11)))

    def test_whatever_the_lines_do_the_stream_comes_out(self) -> None:
        for seed in range(200):
            dice = random.Random(seed)
            arbiter, got, now = Arbiter(NAME, 1, held_max=dice.randint(1, 64)), [], 0.0
            for _ in range(dice.randrange(100)):
                arbiter.take(run(dice.randint(1, 199), dice.randint(1, 11)))
                got += out(arbiter)
            arbiter.take(moldudp.end_of_session(NAME, 211))
            while (ask := arbiter.ask(now)) is not None:
                if isinstance(ask, Wait):
                    now = ask.until
                    continue
                assert isinstance(ask, Again)
                for request in ask.requests:
                    _, first, count = moldudp.HEADER.unpack(request)
                    arbiter.take(run(first, min(count, 20)))
                    got += out(arbiter)
            self.assertEqual((got, arbiter.is_over), (list(range(1, 211)), True))


class Sender:
    """Sends messages over lossy lines to addresses that it is told, says the end of the session, and answers requests."""

    def __init__(self, count: int, drops: Drops, seed: int) -> None:
        self.count, self.drops, self.dice = count, drops, random.Random(seed)
        self.requests = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.requests.bind(("127.0.0.1", 0))
        self.requests.settimeout(0.05)
        self.address = "127.0.0.1:{}".format(self.requests.getsockname()[1])
        self.asked = 0
        self.stop, self.sent = threading.Event(), threading.Event()
        self.thread: Optional[threading.Thread] = None

    def start(self, lines: list[str]) -> None:
        self.lines = [(line.rpartition(":")[0], int(line.rpartition(":")[2])) for line in lines]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def packet(self, first: int, most: int) -> bytes:
        last = min(first + most, self.count + 1)
        return moldudp.encode(NAME, first, [MESSAGES[number % len(MESSAGES)] for number in range(first, last)])

    def serve(self) -> None:
        first = 1
        while first <= self.count:
            most = self.dice.randint(1, 6)
            for line, address in enumerate(self.lines):
                if not self.drops(self.dice, line):
                    self.requests.sendto(self.packet(first, most), address)
            first += most
        while not self.stop.is_set():
            for address in self.lines:
                self.requests.sendto(moldudp.end_of_session(NAME, self.count + 1), address)
            self.sent.set()
            try:
                while True:
                    request, asker = self.requests.recvfrom(64)
                    _, first, count = moldudp.HEADER.unpack(request)
                    self.asked += 1
                    # Answers get lost as well.
                    if self.asked % 3:
                        self.requests.sendto(self.packet(first, min(count, 8)), asker)
            except TimeoutError:
                pass

    def close(self) -> None:
        self.stop.set()
        if self.thread is not None:
            self.thread.join(30)
        self.requests.close()


class Subscriptions(unittest.TestCase):
    def expect(self, heard: list[tuple[Optional[int], object]], count: int) -> None:
        self.assertEqual([seq for seq, _ in heard], list(range(1, count + 1)))
        for seq, message in heard:
            self.assertEqual(message, decode(MESSAGES[(seq or 0) % len(MESSAGES)]))

    def test_two_lossy_lines_and_a_server_give_the_exact_stream(self) -> None:
        for seed, drops in enumerate(
            (
                lambda dice, line: False,
                lambda dice, line: dice.random() < 0.05,
                lambda dice, line: dice.random() < 0.5,
                # One line says nothing at all.
                lambda dice, line: line == 0 or dice.random() < 0.3,
            )
        ):
            sender = Sender(400, drops, seed)
            with Subscriber(["127.0.0.1:0", "127.0.0.1:0"], [sender.address], next_seq=1) as subscriber:
                sender.start(subscriber.addresses)
                heard = list(subscriber)
                self.assertTrue(subscriber.ended)
            sender.close()
            self.expect([(each.seq, each.message) for each in heard], 400)
            if seed >= 2:
                self.assertGreater(sender.asked, 0)

    def test_what_no_request_brings_the_session_port_does(self) -> None:
        def drops(dice: random.Random, line: int) -> bool:
            return dice.random() < 0.2

        def serve(connection: socket.socket, login: bytes) -> None:
            first = int(login[-20:])
            rest = [MESSAGES[number % len(MESSAGES)] for number in range(first, 101)]
            connection.sendall(accept("PUBLIC", first) + sequenced(rest))
            Server.read(connection, 1)

        sender, server = Sender(100, drops, 7), Server(serve)
        with Subscriber(["127.0.0.1:0"], [], server.address, 1) as subscriber:
            sender.start(subscriber.addresses)
            # With everything there is in its socket, one session is enough.
            sender.sent.wait(30)
            heard = list(subscriber)
        sender.close()
        server.close()
        self.expect([(each.seq, each.message) for each in heard], 100)

    def test_what_nobody_has_is_an_error_that_names_it(self) -> None:
        sender = Sender(10, lambda dice, line: True, 1)
        with Subscriber(["127.0.0.1:0"], next_seq=1) as subscriber:
            sender.start(subscriber.addresses)
            with self.assertRaisesRegex(Lost, "message 1 is lost"):
                list(subscriber)
            sender.close()

    def test_a_sender_that_says_nothing_is_silent(self) -> None:
        with Subscriber(["127.0.0.1:0"], next_seq=4) as subscriber:
            self.assertIsNone(subscriber.receive_bytes(0.0))
            subscriber._heard = time.monotonic() - 1_000
            with self.assertRaisesRegex(Disconnected, "the next message is 4"):
                subscriber.receive_bytes(0.0)


if __name__ == "__main__":
    unittest.main()
