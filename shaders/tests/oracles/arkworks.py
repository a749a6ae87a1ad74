"""Adds the verdict of py-arkworks-bls12381 0.5 to every line of the sample."""
import json
import sys

from py_arkworks_bls12381 import GT, G1Point, G2Point

DST = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_"


def verify(item):
    key = G2Point.from_compressed_bytes(bytes.fromhex(item["key"]))
    signature = G1Point.from_compressed_bytes(bytes.fromhex(item["signature"]))
    if key == G2Point.identity() or signature == G1Point.identity():
        return False
    message = G1Point.hash_to_curve(bytes.fromhex(item["digest"]), DST)
    return GT.pairing(signature, G2Point()) == GT.pairing(message, key)


for line in sys.stdin:
    item = json.loads(line)
    try:
        item["arkworks"] = verify(item)
    except ValueError:
        item["arkworks"] = False
    print(json.dumps(item, separators=(",", ":")))
