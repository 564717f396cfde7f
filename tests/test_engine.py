"""The engine reads text as text, stays within its folder and says what it cannot read."""

import os
import signal
import threading
from pathlib import Path

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from claimscale.config.execution import EngineSettings
from claimscale.engine import Engine
from claimscale.errors import BadInput


@pytest.fixture
def engine(tmp_path: Path):
    with Engine(EngineSettings(memory="500MB"), tmp_path / "engine") as engine:
        yield engine


def test_csv_codes_stay_strings_and_empty_cells_are_null(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "codes.csv"
    file.write_text("id,code\n0001,0389\n0002,\n", "utf-8")
    table = engine.to_arrow(engine.read_csv([file]).order_by("id"))
    assert table.to_pylist() == [{"id": "0001", "code": "0389"}, {"id": "0002", "code": None}]


def test_csv_columns_are_matched_by_name(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,x\n1,a\n", "utf-8")
    (tmp_path / "b.csv").write_text("x,id,y\nb,2,c\n", "utf-8")
    table = engine.to_arrow(engine.read_csv([tmp_path / "a.csv", tmp_path / "b.csv"]).order_by("id"))
    assert table.to_pylist() == [{"id": "1", "x": "a", "y": None}, {"id": "2", "x": "b", "y": "c"}]


def test_parquet_round_trip(engine: Engine, tmp_path: Path) -> None:
    rows = pa.table({"n": pa.array([3, 1, None], pa.int64()), "text": ["c", "a", "é"]})
    engine.write_parquet(ibis.memtable(rows), tmp_path / "rows.parquet")
    back = engine.to_arrow(engine.read_parquet(tmp_path / "*.parquet").order_by("text"))
    assert back.to_pylist() == sorted(rows.to_pylist(), key=lambda row: row["text"])


def test_missing_and_broken_files_are_bad_input(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"absent\.parquet: cannot be read"):
        engine.read_parquet(tmp_path / "absent.parquet")
    with pytest.raises(BadInput, match=r"absent\.csv: cannot be read"):
        engine.read_csv([tmp_path / "absent.csv"])


def test_an_error_in_a_row_does_not_show_the_row(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("id,code\n" + "1,a\n" * 30_000 + "SECRET,b,c,d\n", "utf-8")
    with pytest.raises(BadInput, match=r"rows\.csv, line 30002: more than 2 cells$") as raised:
        engine.to_arrow(engine.read_csv([file]))
    assert "SECRET" not in str(raised.value)


def test_scratch_folder_is_gone_after_closing(tmp_path: Path) -> None:
    with Engine(EngineSettings(), tmp_path) as engine:
        scratch = engine.scratch
        assert scratch.is_dir()
        assert scratch.parent == tmp_path
    assert not scratch.exists()


def test_ctrl_c_during_a_query_is_an_interrupt(engine: Engine, tmp_path: Path) -> None:
    # Small row groups: a signal is noticed between the tasks of a query, each of which takes fifty of them.
    file = tmp_path / "numbers.parquet"
    pq.write_table(pa.table({"n": pa.array(range(50_000))}), file, row_group_size=10)
    others = ibis.range(40_000).unnest().name("m").as_table()
    endless = engine.read_parquet(file).cross_join(others).aggregate(total=(ibis._.n * ibis._.m).sum())
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        engine.write_parquet(endless, tmp_path / "never.parquet")
