"""Golden bytes of the rows that wire.json does not have, by hand with struct: python3 rows.py > rows.json."""
import hashlib, hmac, json, struct

sha = lambda b: hashlib.sha256(b).digest()
fill = lambda n, size: bytes((n + i) % 256 for i in range(size))
CHAIN = fill(1, 32)
C = 1980000 | 1 << 32 | 7 << 48


def D(name, body, chain=CHAIN):
    return sha(('wattbook/1/' + name).encode().ljust(32, b'\0') + chain + body)


def root(leaves):
    if not leaves: return sha(b'')
    if len(leaves) == 1: return sha(b'\0' + leaves[0])
    k = 1
    while 2 * k < len(leaves): k *= 2
    return sha(b'\1' + root(leaves[:k]) + root(leaves[k:]))


def hkdf(salt, secret, info):
    return hmac.new(hmac.new(salt, secret, 'sha256').digest(), info + b'\1', 'sha256').digest()


def leaf(kind, index, body, flags=0, rnd=0):
    assert len(body) == 40
    return struct.pack('<BBHI', kind, flags, rnd, index) + body


leaves = [
    leaf(1, 0, struct.pack('<QQiiIIII', C, 77, -550, -1, 250, 100, 0, 1780000000), flags=2 | 4 << 2, rnd=3),
    leaf(2, 1, struct.pack('<QQI20x', 0, 5, 0xffffffff)),
    leaf(3, 2, struct.pack('<QQIiiIII', C, 6, 0x80000001, 9700, 300, 1000000, 50, 0)),
    leaf(4, 3, struct.pack('<Q32s', C, fill(2, 32)), flags=5, rnd=2),
    leaf(5, 4, fill(3, 32) + struct.pack('<B7x', 1)),
    leaf(6, 5, fill(4, 32) + struct.pack('<B7x', 1)),
    leaf(7, 6, struct.pack('<Qq24s', 12, 5000, fill(5, 24))),
    leaf(8, 7, struct.pack('<q32s', 6000, fill(6, 32))),
    leaf(9, 8, struct.pack('<QQ24x', 3, 13)),
    leaf(10, 9, struct.pack('<Q32s', 77, fill(7, 32))),
    leaf(11, 10, struct.pack('<Q32s', 4, fill(8, 32))),
    leaf(12, 11, struct.pack('<QIIII16x', 900, 1980000, 2, 1234, 5678)),
    leaf(13, 12, struct.pack('<Q32s', 100000, fill(9, 32)), flags=1),
    leaf(14, 13, struct.pack('<I4xq24x', 28, -3)),
    leaf(15, 14, struct.pack('<B7xQQI12x', 3, 0, 42, 9)),
    leaf(16, 15, struct.pack('<QI4xQ16x', 42, 1980000, 123456)),
    leaf(17, 16, fill(10, 32) + bytes(8)),
]
H = struct.pack('<HHIQIIQQ32s', 1, 0, len(leaves), 42, 1, 0, 9, 1780000000 * 10**9, root(leaves))
meters = [struct.pack('<QQQII', 900 + i, 1000 * i, 500 * i, 1 + i, 0) for i in range(4)]
R = struct.pack('<IIQQ96s32s32s32s', 3, 0, 42, 1900000000 * 10**9, fill(11, 96), fill(12, 32), fill(13, 32), root(meters))
account = struct.pack('<IIQQ96s32s32s32s', 32, 0, 1, 2**64 - 1, fill(14, 96), bytes(32), bytes(32), root([]))
params = [(2, -5), (4, 200), (56, 90)]
genesis = (b'wattbook/genesis/1'.ljust(32, b'\0') + b'golden'.ljust(32, b'\0') + b'10YGOLDEN-TEST-X'
           + struct.pack('<HHQ32s32s32s', 7, 1, 1780000000 * 10**9, fill(15, 32), fill(16, 32), D('alias', fill(17, 32), bytes(32)))
           + struct.pack('<I', 1) + account + fill(18, 48)
           + struct.pack('<I', len(params)) + b''.join(struct.pack('<IIq', p, 0, v) for p, v in params)
           + struct.pack('<I', 1) + struct.pack('<Q32s96s', 20, fill(19, 32), fill(20, 96)))
deal = struct.pack('<QQ QQII QQII qQ iiii', C, 3, 42, 9, 1, 0, 43, 10, 0x80000002, 0, -1101, 250, 100, 101, 50, -1)
reveal_leaves = [leaf(1, i, struct.pack('<QQiiIIII', C, i, 9000, 300, 1000, 0, 0, 0), flags=1, rnd=2) for i in range(3)]
# Options of an order: an ask until the gate that shows 20, a market-to-limit bid that cancels the resting one, a
# fill-or-kill ask that cancels both, a post-only bid that decrements; a replace that shows 7.
option_leaves = [
    leaf(1, 0, struct.pack('<QQiiIIII', C, 78, 9000, -1, 250, 20, 20, 0), flags=2),
    leaf(1, 1, struct.pack('<QQiiIIII', C, 79, 9100, 300, 250, 0, 0, 0), flags=1 | 1 << 5 | 1 << 6),
    leaf(1, 2, struct.pack('<QQiiIIII', C, 80, 9200, 0, 250, 0, 30, 0), flags=2 | 2 << 2 | 2 << 6),
    leaf(1, 3, struct.pack('<QQiiIIII', C, 81, 9300, 0, 250, 0, 2**32 - 1, 0), flags=1 | 3 << 2 | 3 << 6),
    leaf(3, 4, struct.pack('<QQIiiIII', C, 6, 3, 9400, 300, 100, 5, 7)),
]
json.dump({
    'chain': CHAIN.hex(),
    'leaves': [x.hex() for x in leaves],
    'option_leaves': [x.hex() for x in option_leaves],
    'header': H.hex(),
    'envelope_payload': (H + fill(21, 48) + b''.join(leaves)).hex(),
    'envelope_digest': D('envelope', H).hex(),
    'register_payload': (R + fill(22, 64) + fill(23, 48) + struct.pack('<H6x', 4) + b''.join(meters)).hex(),
    'register_digest': D('register', R).hex(),
    'admit_digest': D('admit', R).hex(),
    'reveal_payload': (struct.pack('<QQII32s', 42, C, 2, 3, fill(24, 32)) + b''.join(reveal_leaves)).hex(),
    'commitment': D('seal', struct.pack('<QQII32s32s', 42, C, 2, 3, fill(24, 32), root(reveal_leaves))).hex(),
    'tick_payload': struct.pack('<Q', 1780000000123456789).hex(),
    'logon_digest': D('logon', fill(25, 32) + struct.pack('<QB7x', 42, 2)).hex(),
    'genesis': genesis.hex(),
    'chain_id': sha(genesis).hex(),
    'deal': deal.hex(),
    'deal_id': D('deal', deal).hex(),
    'pseudonym': int.from_bytes(D('alias', fill(17, 32) + struct.pack('<QQ', C, 42))[:8], 'little'),
    'pseudonym_outside': int.from_bytes(D('alias', fill(17, 32) + struct.pack('<QQ', 0, 42))[:8], 'little'),
    'order_reference': int.from_bytes(D('alias-order', fill(17, 32) + struct.pack('<QQQI', C, 42, 9, 1))[:8], 'little'),
    'derived': hkdf(b'wattbook/1/keys', fill(26, 32), b'participant\0' + struct.pack('<Q', 42)).hex(),
    'seen_digest': D('seen', struct.pack('<QQ', 3, 1780000000123456789) + fill(28, 32)).hex(),
    'committee_digest': D('committee', struct.pack('<Q', 4) + b''.join(struct.pack('<Q32s96s', 20 + i, fill(29 + i, 32), fill(33 + i, 96)) for i in range(4))).hex(),
    'ballot_namespace': (b'wattbook/1/ballot'.ljust(32, b'\0') + CHAIN).hex(),
    'reveal_salt': hkdf(CHAIN, fill(27, 32), b'seal\0' + struct.pack('<QI', C, 2)).hex(),
}, __import__('sys').stdout, indent=0)
print()
