"""Adds the verdict of py_ecc 8 to every line of the sample."""
import hashlib
import json
import sys

from py_ecc.bls.hash_to_curve import hash_to_G1
from py_ecc.bls.point_compression import decompress_G1, decompress_G2
from py_ecc.optimized_bls12_381 import (
    FQ12,
    G2,
    curve_order,
    final_exponentiate,
    is_inf,
    multiply,
    neg,
    pairing,
)

DST = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_"


def verify(item):
    signature = decompress_G1(int(item["signature"], 16))
    key = decompress_G2((int(item["key"][:96], 16), int(item["key"][96:], 16)))
    for point in (signature, key):
        if is_inf(point) or not is_inf(multiply(point, curve_order)):
            return False
    message = hash_to_G1(bytes.fromhex(item["digest"]), DST, hashlib.sha256)
    loops = pairing(neg(G2), signature, False) * pairing(key, message, False)
    return final_exponentiate(loops) == FQ12.one()


for line in sys.stdin:
    item = json.loads(line)
    try:
        item["py_ecc"] = verify(item)
    except ValueError:
        item["py_ecc"] = False
    print(json.dumps(item, separators=(",", ":")))
