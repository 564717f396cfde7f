"""The time zones of columns in Parquet files.

Parquet holds a time with a zone in UTC, and the zone beside it. The day of such a time is that of its own
zone: midnight of 29 March in Tokyo is 15:00 of 28 March in UTC.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from claimscale.errors import BadInput

IS_UTC = {"UTC", "Etc/UTC", "GMT", "Z", "+00:00", "-00:00"}
OFFSET = re.compile(r"([+-])(\d{2}):?(\d{2})")


def zones_of(files: Sequence[str]) -> dict[str, str]:
    """The zone of each column that has another one than UTC.

    Raises BadInput if two files give one column different zones. What cannot be read is left to the engine.
    """
    found: dict[str, str] = {}
    seen: dict[str, str] = {}
    for file in files:
        try:
            schema = pq.read_schema(file)
        except (OSError, pa.ArrowInvalid):
            continue
        for field in schema:
            zone = field.type.tz if pa.types.is_timestamp(field.type) else None
            if zone is None:
                continue
            if seen.setdefault(field.name, zone) != zone:
                raise BadInput(f"{file}: {field.name} is in {zone}, in another file in {seen[field.name]}")
            if zone not in IS_UTC:
                found[field.name] = zone
    return found


def offset_of(zone: str) -> dt.timedelta | None:
    """The offset of a zone such as +09:00; None for a zone with a name.

    >>> offset_of("+09:00"), offset_of("Asia/Tokyo")
    (datetime.timedelta(seconds=32400), None)
    """
    match = OFFSET.fullmatch(zone)
    if match is None:
        return None
    offset = dt.timedelta(hours=int(match[2]), minutes=int(match[3]))
    return offset if match[1] == "+" else -offset
