"""Audits a folder of tiles and a record proof with tlog-scales, which nobody here wrote.

usage: audit.py TILES VKEY PROOF OLD_SIZE OLD_ROOT_HEX; exit code 0 if everything holds.
"""

import base64
import struct
import sys

from tlog_scales import tiles, tlog
from tlog_scales.backend import LocalBackend
from tlog_scales.reader import TilesReader
from tlog_scales.signing import Vkey
from tlog_scales.utils import sha256
from pathlib import Path

folder, vkey, proof_path, old_size, old_root = sys.argv[1:]
key = Vkey.from_string(vkey)

reader = TilesReader(LocalBackend(Path(folder)))
checkpoint = reader.get_checkpoint()
checkpoint.verify(key)
assert checkpoint.origin == key.name
assert reader.calculate_root_hash() == checkpoint.root_hash
for height in range(checkpoint.size):
    entry = reader.get_entry(height)
    assert len(entry) == 352 and struct.unpack_from("<Q", entry, 8)[0] == height
    assert tiles.leaf_hash(entry) == reader.mth(height, height + 1)
    if height % 50 == 0:
        path = reader.get_inclusion_proof(height, checkpoint.size)
        path.check(tiles.leaf_hash(entry), checkpoint.root_hash)
consistency = reader.get_consistency_proof(int(old_size), checkpoint.size)
consistency.check(bytes.fromhex(old_root), checkpoint.root_hash)

# The record proof: its checkpoint, the header's path, the record's path.
text = Path(proof_path).read_text()
head, note = text.split("\n\n", 1)
lines = head.split("\n")
assert lines[0] == "c2sp.org/tlog-proof@v1"
extra = base64.b64decode(lines[1].removeprefix("extra "), validate=True)
index = int(lines[2].removeprefix("index "))
path = [base64.b64decode(line, validate=True) for line in lines[3:]]
checkpoint = tlog.Checkpoint.from_text(note)
checkpoint.verify(key)
version, zero, leaf_len, place = struct.unpack_from("<HHIQ", extra)
assert (version, zero) == (1, 0)
header, rest = extra[16 : 16 + 352], extra[16 + 352 :]
tlog.InclusionProof(index, checkpoint.size, path).check(tiles.leaf_hash(header), checkpoint.root_hash)
leaf, rest = rest[:leaf_len], rest[leaf_len:]
path = [rest[at : at + 32] for at in range(0, len(rest), 32)]
records = struct.unpack_from("<Q", header, 40)[0]
tlog.InclusionProof(place, records, path).check(sha256(b"\x00" + leaf), header[128:160])
print(f"{checkpoint.size} headers, record {struct.unpack_from('<Q', leaf, 8)[0]}")
