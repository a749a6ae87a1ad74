"""The command line: `tail` follows the public feed, `quote` and `cancel` send a signed envelope and print its answers.

Exit code 0: the end of the feed, or accepted; 1: refused, or the connection was lost; 2: wrong arguments."""

from __future__ import annotations

import argparse
import json
import os
import ssl
import sys
import time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Callable, Iterator, Optional, Sequence

from .messages import (
    Accepted,
    DecodeError,
    Grade,
    Held,
    Message,
    Rejected,
    RejectedMessage,
    Side,
    Watermark,
    to_json,
)
from .orders import ALL_INDEXES, Cancel, Item, Quote, SelfTrade, TimeInForce, contract_id
from .session import Received, Session, SessionError, follow, replay
from .signing import SigningKey, SigningUnavailable
from .soupbin import FramingError
from .subscriber import Subscriber
from .tls import trust


def _scaled(decimals: int) -> Callable[[str], int]:
    """Reads a decimal number exactly, in units of its last decimal."""

    def read(text: str) -> int:
        try:
            scaled = Decimal(text).scaleb(decimals)
        except InvalidOperation:
            raise argparse.ArgumentTypeError(f"{text!r} is no decimal number") from None
        if not scaled.is_finite() or scaled != scaled.to_integral_value():
            raise argparse.ArgumentTypeError(f"{text!r} has more than {decimals} decimals")
        return int(scaled)

    return read


def _print(message: Message, seq: Optional[int], as_json: bool) -> None:
    if as_json:
        print(json.dumps(to_json(message, seq), separators=(",", ":")), flush=True)
    else:
        print("-" if seq is None else seq, message, flush=True)


def _trust(arguments: argparse.Namespace) -> Optional[ssl.SSLContext]:
    return None if arguments.tls_ca is None else trust(arguments.tls_ca)


def _tail(arguments: argparse.Namespace) -> int:
    left: Optional[int] = arguments.count
    if left == 0:
        return 0
    messages: Iterator[Received]
    if arguments.replay is not None:
        messages = (found for found in replay(arguments.replay) if found.seq is None or found.seq >= arguments.first)
    elif arguments.udp:
        subscriber = Subscriber(
            arguments.udp, arguments.requests, arguments.address, arguments.first, _trust(arguments), arguments.tls_name
        )
        messages = iter(subscriber)
    elif arguments.address is not None:
        messages = follow(
            arguments.address,
            arguments.first,
            attempts=arguments.attempts,
            tls=_trust(arguments),
            tls_name=arguments.tls_name,
        )
    else:
        raise ValueError("tail needs the host:port of a node, --udp, or --replay")
    for seq, message in messages:
        _print(message, seq, arguments.json)
        if left is not None:
            left -= 1
            if left == 0:
                break
    return 0


def _key(path: str, participant: int) -> SigningKey:
    if os.name == "posix" and Path(path).stat().st_mode & 0o077:
        raise SystemExit(f"{path} may be read by others; run `chmod 600` on it")
    try:
        seed = bytes.fromhex(Path(path).read_text("ascii").strip())
        return SigningKey.from_seed(seed, participant)
    except ValueError:
        raise SystemExit(f"{path} does not hold 32 bytes in hex") from None


def _seq(message: Message) -> Optional[int]:
    seq = getattr(message, "seq", None)
    return seq if isinstance(seq, int) else None


def _send(arguments: argparse.Namespace, item: Item) -> int:
    """Sends one item and prints what answers it, until its record is covered by a watermark."""
    key = _key(arguments.key, arguments.participant)
    chain = None if arguments.chain is None else bytes.fromhex(arguments.chain)
    deadline = time.monotonic() + arguments.timeout
    with Session.private(arguments.address, 0, _trust(arguments), arguments.tls_name) as session:
        session.logon(arguments.participant, key, Grade[arguments.grade.upper()], chain)
        nonce = session.send_quotes([item], ttl_s=arguments.ttl, nonce=arguments.nonce)
        record: Optional[int] = None
        accepted = False
        while not session.ended:
            try:
                received = session.receive(deadline - time.monotonic())
            except DecodeError:
                continue
            if received is None:
                break
            message = received.message
            if isinstance(message, (Accepted, Rejected)) and message.nonce == nonce:
                record, accepted = message.seq, isinstance(message, Accepted)
            elif isinstance(message, RejectedMessage) and message.nonce == nonce:
                _print(message, None, arguments.json)
                return 1
            elif isinstance(message, Watermark):
                if record is not None and message.seq >= record:
                    return 0 if accepted else 1
                continue
            elif not (isinstance(message, Held) and message.nonce == nonce):
                if record is None or _seq(message) != record:
                    continue
            _print(message, None, arguments.json)
        if record is None:
            print(f"no verdict; send it again with --nonce {nonce}", file=sys.stderr)
            return 1
        return 0 if accepted else 1


def _quote(arguments: argparse.Namespace) -> int:
    quote = Quote(
        contract=contract_id(arguments.period, arguments.area),
        side=Side[arguments.side.upper()],
        price=arguments.price,
        energy_wh=arguments.energy,
        client_order_id=arguments.client_order_id,
        charge_cap=-1 if arguments.charge_cap is None else arguments.charge_cap,
        min_fill_wh=arguments.min_fill,
        display_wh=arguments.display,
        time_in_force=TimeInForce[arguments.tif.upper().replace("-", "_")],
        self_trade=SelfTrade[arguments.self_trade.upper()],
        market_to_limit=arguments.market_to_limit,
    )
    return _send(arguments, quote)


def _cancel(arguments: argparse.Namespace) -> int:
    contract = 0 if arguments.period is None else contract_id(arguments.period, arguments.area)
    return _send(arguments, Cancel(contract, arguments.target_nonce, arguments.target_index))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wattbook-feed", description="Reads the Wattbook feed and sends signed quotes.")
    commands = parser.add_subparsers(required=True)

    node = argparse.ArgumentParser(add_help=False)
    node.add_argument("--tls-ca", metavar="FILE", help="speak TLS 1.3; PEM file of the certificates trusted to name the node")
    node.add_argument("--tls-name", metavar="NAME", help="name that the node's certificate carries; default: the host")

    tail = commands.add_parser("tail", parents=[node], help="follow the public feed, through drops of the connection")
    tail.add_argument("address", nargs="?", help="host:port of a node")
    tail.add_argument("--replay", metavar="FILE", help="print what `wattbook tail --record` wrote, instead of a node's feed")
    tail.add_argument(
        "--udp", metavar="HOST:PORT", action="append", help="listen for MoldUDP64 here, once for each line; the node is asked last"
    )
    tail.add_argument(
        "--requests", metavar="HOST:PORT", action="append", default=[], help="re-request server of the lines; may come repeatedly"
    )
    tail.add_argument("--from", dest="first", type=int, default=0, help="first number wanted; default: what comes next")
    tail.add_argument("--count", type=int, help="end after this many messages")
    tail.add_argument("--attempts", type=int, default=5, help="attempts in a row without a message")
    tail.add_argument("--json", action="store_true", help="one JSON object a line")
    tail.set_defaults(run=_tail)

    sender = argparse.ArgumentParser(add_help=False)
    sender.add_argument("address", help="host:port of a node")
    sender.add_argument("--key", required=True, help="file with the participant's seed: 32 bytes in hex, mode 600")
    sender.add_argument("--participant", type=int, required=True, help="the account that signs")
    sender.add_argument("--nonce", type=int, help="nonce of the envelope; default: the least that is surely unused")
    sender.add_argument("--grade", choices=["matched", "durable", "final"], default="durable", help="when answers come")
    sender.add_argument("--chain", help="chain that the node must serve, in hex; nothing is signed for another")
    sender.add_argument("--ttl", type=int, default=60, help="time that the envelope stays valid, s")
    sender.add_argument("--timeout", type=float, default=30, help="longest wait for the verdict, s")
    sender.add_argument("--area", type=int, default=1, help="number of the delivery area")
    sender.add_argument("--json", action="store_true", help="one JSON object a line")

    quote = commands.add_parser("quote", parents=[sender, node], help="a new order")
    quote.add_argument("--period", type=int, required=True, help="quarter hours since 1970 of the contract")
    quote.add_argument("--side", choices=["buy", "sell"], required=True)
    quote.add_argument("--price", type=_scaled(2), required=True, help="limit, points/MWh")
    quote.add_argument("--energy", type=_scaled(6), required=True, help="energy, MWh")
    quote.add_argument("--tif", choices=["gate", "ioc", "fok", "post-only"], default="gate")
    quote.add_argument("--min-fill", type=_scaled(6), default=0, help="least energy of an execution, MWh")
    quote.add_argument("--display", type=_scaled(6), default=0, help="energy shown at a time, MWh; 0 all")
    quote.add_argument("--charge-cap", type=_scaled(2), help="greatest network charge, points/MWh")
    quote.add_argument("--client-order-id", type=int, default=0)
    quote.add_argument("--self-trade", choices=["newest", "oldest", "both", "decrement"], default="newest")
    quote.add_argument("--market-to-limit", action="store_true")
    quote.set_defaults(run=_quote)

    cancel = commands.add_parser("cancel", parents=[sender, node], help="take orders out of the book")
    cancel.add_argument("--period", type=int, help="quarter hours since 1970 of the contract; default: all")
    cancel.add_argument("--target-nonce", type=int, default=0, help="nonce of the orders' envelope; default: all orders")
    cancel.add_argument("--target-index", type=int, default=ALL_INDEXES, help="index of the order; default: all")
    cancel.set_defaults(run=_cancel)
    return parser


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs a command; its exit code comes back."""
    parsed = _parser().parse_args(arguments)
    try:
        code: int = parsed.run(parsed)
    except (SessionError, FramingError, SigningUnavailable, OSError, ValueError) as error:
        print(f"wattbook-feed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
