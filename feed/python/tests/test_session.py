"""The session against a server of a few lines: what goes over the wire, drops, heartbeats, the end."""

from __future__ import annotations

import json
import socket
import struct
import tempfile
import threading
import unittest
from pathlib import Path
from typing import Callable

from wattbook import Disconnected, LoginRefused, Session, follow, replay, soupbin
from wattbook.__main__ import main
from wattbook.messages import SCHEMA_ID, SCHEMA_VERSION, decode

EVENTS = Path(__file__).resolve().parents[2] / "tests" / "golden" / "events.json"
MESSAGES = [bytes.fromhex(row[3]) for row in json.loads(EVENTS.read_text()).values()]

CHALLENGE = struct.pack("<HHHH", 72, 20, SCHEMA_ID, SCHEMA_VERSION) + bytes(32) + bytes(range(32)) + bytes(8)

Script = Callable[[socket.socket, bytes], None]


def accept(session: str, seq: int) -> bytes:
    return soupbin.encode("A", f"{session:>10}{seq:>20}".encode())


class Server:
    """Takes a connection for each script, one after the other."""

    def __init__(self, *scripts: Script) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.logins: list[bytes] = []
        self.thread = threading.Thread(target=self.serve, args=(scripts,), daemon=True)
        self.thread.start()

    def serve(self, scripts: tuple[Script, ...]) -> None:
        for script in scripts:
            connection, _ = self.listener.accept()
            with connection:
                login = self.read(connection, 49)
                self.logins.append(login)
                script(connection, login)

    @staticmethod
    def read(connection: socket.socket, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = connection.recv(size - len(data))
            if not piece:
                break
            data += piece
        return data

    def close(self) -> None:
        self.thread.join(30)
        self.listener.close()


def sequenced(messages: list[bytes]) -> bytes:
    return b"".join(soupbin.encode("S", message) for message in messages)


class Recordings(unittest.TestCase):
    def test_a_recording_is_read_to_where_it_was_cut(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "feed.soup"
            whole = accept("PUBLIC", 7) + sequenced(MESSAGES)
            path.write_bytes(whole + soupbin.encode("Z"))
            heard = list(replay(str(path)))
            self.assertEqual([received.seq for received in heard], list(range(7, 7 + len(MESSAGES))))
            self.assertEqual([received.message for received in heard], [decode(message) for message in MESSAGES])
            path.write_bytes(whole[:-1])
            with self.assertRaises(Disconnected):
                list(replay(str(path)))
            self.assertEqual(main(["tail", "--replay", str(path), "--count", "0"]), 0)
            for foreign in (b"", sequenced(MESSAGES)):
                path.write_bytes(foreign)
                with self.assertRaises(soupbin.FramingError):
                    list(replay(str(path)))
        self.assertEqual(main(["tail"]), 1)


class Sessions(unittest.TestCase):
    def test_a_feed_goes_on_after_drops_without_gap_or_repetition(self) -> None:
        first, second = MESSAGES[:10], MESSAGES[10:]

        def cut(connection: socket.socket, login: bytes) -> None:
            connection.sendall(accept("PUBLIC", 1) + sequenced(first) + sequenced(second)[:7])

        def nothing(connection: socket.socket, login: bytes) -> None:
            connection.sendall(b"")

        def rest(connection: socket.socket, login: bytes) -> None:
            connection.sendall(accept("PUBLIC", 11) + sequenced(second) + soupbin.encode("Z"))

        server = Server(cut, nothing, rest)
        heard = list(follow(server.address, 1, pause_s=0.0))
        server.close()
        self.assertEqual([received.seq for received in heard], list(range(1, len(MESSAGES) + 1)))
        self.assertEqual([received.message for received in heard], [decode(message) for message in MESSAGES])
        wanted = [int(login[-20:]) for login in server.logins]
        self.assertEqual(wanted, [1, 11, 11])

    def test_a_lost_server_is_an_error_and_not_the_end(self) -> None:
        server = Server(lambda connection, login: connection.sendall(accept("PUBLIC", 4)))
        with Session.public(server.address, 4) as session:
            with self.assertRaisesRegex(Disconnected, "resume with 4"):
                next(iter(session))
        server.close()

    def test_a_participants_stream_goes_on_after_a_drop(self) -> None:
        first, second = MESSAGES[:4], MESSAGES[4:9]
        greeting = soupbin.encode("U", CHALLENGE)

        def cut(connection: socket.socket, login: bytes) -> None:
            # More has begun to come than is there.
            connection.sendall(accept("PRIVATE", 1) + greeting + sequenced(first) + sequenced(second)[:9])

        def rest(connection: socket.socket, login: bytes) -> None:
            connection.sendall(accept("PRIVATE", 5) + greeting + sequenced(second) + soupbin.encode("Z"))

        server = Server(cut, rest)
        chains: list[bytes] = []
        heard = list(follow(server.address, pause_s=0.0, logon=lambda session: chains.append(session.chain_id)))
        server.close()
        self.assertEqual([received.seq for received in heard], list(range(1, 10)))
        self.assertEqual([int(login[-20:]) for login in server.logins], [1, 5])
        self.assertEqual(chains, [bytes(range(32))] * 2)
        with self.assertRaises(ValueError):
            next(follow(server.address, 0, logon=lambda session: None))

    def test_what_came_while_nobody_looked_is_no_silence(self) -> None:
        def speak(connection: socket.socket, login: bytes) -> None:
            connection.sendall(accept("PUBLIC", 1) + sequenced(MESSAGES[:1]))
            Server.read(connection, 3)

        server = Server(speak)
        with Session.public(server.address, 1) as session:
            session._last_heard -= 1_000
            received = session.receive(10.0)
            self.assertEqual((received.seq if received else None, session.next_seq), (1, 2))
            session._last_heard -= 1_000
            with self.assertRaisesRegex(Disconnected, "no heartbeats; resume with 2"):
                session.receive(0.0)
            session._send_packet(soupbin.encode("R"))
        server.close()

    def test_heartbeats_keep_nobody_waiting(self) -> None:
        done = threading.Event()

        def beat(connection: socket.socket, login: bytes) -> None:
            connection.sendall(accept("PUBLIC", 1))
            while not done.is_set():
                try:
                    connection.sendall(soupbin.encode("H") * 1_000)
                except OSError:
                    break

        server = Server(beat)
        with Session.public(server.address, 1) as session:
            self.assertIsNone(session.receive(0.05))
            self.assertFalse(session.ended)
            done.set()
        server.close()

    def test_a_refused_login_says_so(self) -> None:
        server = Server(lambda connection, login: connection.sendall(soupbin.encode("J", b"S")))
        with self.assertRaises(LoginRefused):
            Session.public(server.address, 99)
        server.close()

    def test_a_silent_client_sends_heartbeats(self) -> None:
        beats: list[bytes] = []

        def listen(connection: socket.socket, login: bytes) -> None:
            connection.sendall(accept("PUBLIC", 1))
            beats.append(Server.read(connection, 3))
            connection.sendall(soupbin.encode("H") + soupbin.encode("+", b"text") + soupbin.encode("Z"))

        server = Server(listen)
        with Session.public(server.address, 1) as session:
            self.assertEqual(list(session), [])
            self.assertTrue(session.ended)
        server.close()
        self.assertEqual(beats, [soupbin.encode("R")])


if __name__ == "__main__":
    unittest.main()
