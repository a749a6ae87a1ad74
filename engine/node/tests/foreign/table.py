"""Reads the three tables of one ledger with pyarrow: Parquet, CSV and JSON lines say the same. Prints the trades' sum.

usage: table.py FOLDER, which holds trades, items and records as .parquet, .csv and .jsonl
"""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

folder = Path(sys.argv[1])
for name in ["trades", "items", "records"]:
    table = pa.parquet.read_table(folder / f"{name}.parquet")
    names = table.schema.names
    csv = pa.csv.read_csv(folder / f"{name}.csv")
    lines = pa.json.read_json(folder / f"{name}.jsonl")
    assert csv.schema.names == names and lines.schema.names == names, name
    assert len(table) == len(csv) == len(lines) > 0, name
    assert table.schema.field("block_time").type == pa.timestamp("ns", tz="UTC"), name
    for field in table.schema:
        column = table[field.name]
        if pa.types.is_timestamp(field.type):
            column = column.cast(pa.int64())
        elif pa.types.is_binary(field.type):
            column = pa.array([cell.as_py().hex() for cell in column])
        assert column.to_pylist() == lines[field.name].to_pylist(), (name, field.name)
        if not pa.types.is_binary(field.type) and column.null_count == 0:
            assert column.to_pylist() == csv[field.name].to_pylist(), (name, field.name)
trades = pa.parquet.read_table(folder / "trades.parquet")
print(len(trades), pc.sum(trades["energy_wh"]).as_py(), pc.sum(trades["price_half_ticks"]).as_py())
