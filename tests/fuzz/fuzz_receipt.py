"""Fuzz target of the reader of UKE files: `python tests/fuzz/fuzz_receipt.py -max_total_time=600`.

Needs atheris (`pip install atheris`). Any exception but BadInput, and any line that is not counted,
stops it with the input that did it. The first byte chooses the key of a person and the size of blocks.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["claimscale.sources"]):
    from claimscale.errors import BadInput
    from claimscale.sources.japan import receipt_parsing
    from claimscale.sources.japan.receipt_clinical import ParsedReceipts
    from claimscale.sources.japan.receipt_records import ReceiptReader

FACILITY = b"IR,1,13,1,1234567,,,202106,00,\nRE,1,1112,202105,,2,19500228,,,,,,,0042\n"
SUSPECTED = frozenset({"8002"})


def read_one(data: bytes) -> None:
    choice, content = data[:1] or b"\0", data[1:]
    if choice[0] & 2:
        content = FACILITY + content + b"\nGO,1,0,99\n"
    step = 1 + choice[0]
    parsed = ParsedReceipts()
    blocks = (content[start : start + step] for start in range(0, len(content), step))
    try:
        ReceiptReader(bool(choice[0] & 1), SUSPECTED, parsed).read("file", blocks, 0)
    except BadInput:
        return
    stripped = content.rstrip(b"\x1a")
    assert parsed.counts.rows.total() == stripped.count(b"\n") + (not stripped.endswith(b"\n"))
    for table, reasons in parsed.counts.without_event.items():
        assert reasons.total() <= parsed.counts.rows[table]
    for rows, schema in (
        (parsed.events, receipt_parsing.EVENTS),
        (parsed.receipts, receipt_parsing.RECEIPTS),
    ):
        assert not rows or receipt_parsing.as_table(rows, schema).num_rows == len(rows)


if __name__ == "__main__":
    atheris.Setup(sys.argv, read_one)
    atheris.Fuzz()
