import json
import types
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.utils.flop_counter

from claimscale.training import cost, energy
from claimscale.training.cost import CostMeter

CPU = torch.device("cpu")
MIB = 1 << 20


@pytest.fixture
def counter(monkeypatch) -> list[float]:
    """A meter whose one counter the test sets."""
    joules = [0.0]
    monkeypatch.setattr(
        cost, "meter_for", lambda device: energy.EnergyMeter(lambda: list(joules), [float("inf")])
    )
    return joules


def test_costs_add_up_over_an_interruption(counter):
    first = CostMeter(CPU, devices=2)
    first.count(100, 1e9)
    counter[0] = 50.0
    state = json.loads(json.dumps(first.state()))
    assert state["joules"] == 50.0
    state["seconds"], state["device_seconds"] = 3600.0, 7200.0
    second = CostMeter(CPU, state, devices=4)
    counter[0] = 80.0
    second.count(10, 1e8)
    entry = second.entry(peak_tflops=0.05)
    assert entry["tokens"] == 110 and entry["flops"] == 1.1e9
    assert entry["wall_hours"] == pytest.approx(1.0, abs=0.01)
    assert entry["device_hours"] == pytest.approx(2.0, abs=0.04)
    assert entry["energy_kwh"] == pytest.approx(80 / 3.6e6)
    assert entry["mfu"] == pytest.approx(1.1e9 / (5e10 * 7200), rel=0.02)
    assert entry["peak_memory"] > 1e6 and entry["peak_tflops"] == 0.05


def test_repeated_work_is_not_counted_twice(counter):
    state = {
        "tokens": 5,
        "flops": 1.0,
        "seconds": 10.0,
        "device_seconds": 10.0,
        "peak_memory": 0,
        "joules": 3.0,
    }
    resumed = CostMeter(CPU, state, {"seconds": 3600.0, "tokens": 9, "joules": 7.0}, devices=1)
    entry = resumed.entry(1.0)
    assert entry["tokens"] == 5 and entry["flops"] == 1.0
    assert entry["wall_hours"] == pytest.approx(1, abs=0.01)
    assert entry["device_hours"] == pytest.approx(1, abs=0.01)
    assert entry["energy_kwh"] == pytest.approx(7 / 3.6e6)
    assert CostMeter(CPU, None, {"seconds": 3600.0, "tokens": 0}).seconds >= 3600


def test_energy_is_null_where_a_part_of_the_work_was_not_metered(counter, monkeypatch):
    unmetered = CostMeter(CPU, {**cost.NOTHING, "seconds": 1.0})
    assert unmetered.entry()["energy_kwh"] is None and "joules" not in unmetered.usage()
    assert CostMeter(CPU).entry()["energy_kwh"] == 0.0 and CostMeter(CPU).usage()["joules"] == 0.0
    monkeypatch.setattr(cost, "meter_for", lambda device: None)
    assert CostMeter(CPU).entry()["energy_kwh"] is None


def test_a_cell_without_operations_has_no_utilisation():
    entry = CostMeter(CPU).entry()
    assert entry["mfu"] is entry["flops"] is entry["tokens"] is entry["peak_tflops"] is None
    assert entry["wall_hours"] >= 0 and entry["peak_memory"] > 1e6


def test_the_peak_is_measured_once_and_leaves_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    cost.measured_peak.cache_clear()
    peak = cost.measured_peak(CPU, 1)
    assert torch.equal(torch.rand(1), expected)
    assert 1e8 < peak < 1e13 and cost.measured_peak(CPU, 1) == peak


def _can_be_reset() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


@pytest.mark.skipif(not _can_be_reset(), reason="the peak of this process cannot be reset")
def test_the_peak_of_memory_is_that_of_the_cell():
    cost.reset_peak_memory(CPU)
    before = cost.peak_memory(CPU)
    block = np.ones(1 << 25)  # 256 MiB
    high = cost.peak_memory(CPU)
    assert high >= before + 200 * MIB
    del block
    assert cost.peak_memory(CPU) > high - MIB, "it is the peak, not what is used now"
    cost.reset_peak_memory(CPU)
    assert cost.peak_memory(CPU) < high - 100 * MIB


def _zone(powercap: Path, name: str, kind: str, joules: float) -> Path:
    zone = powercap / name
    zone.mkdir(parents=True)
    (zone / "name").write_text(kind + "\n")
    (zone / "max_energy_range_uj").write_text("1000000000\n")
    (zone / "energy_uj").write_text(f"{joules * 1e6:.0f}\n")
    return zone


def test_processors_are_metered_by_package_across_a_wrap(tmp_path: Path):
    first, second = (_zone(tmp_path, f"intel-rapl:{n}", f"package-{n}", 990.0) for n in (0, 1))
    _zone(tmp_path, "intel-rapl:0:0", "core", 1.0)
    _zone(tmp_path, "intel-rapl:2", "psys", 1.0)
    meter = energy.processor_meter(tmp_path)
    assert meter is not None and meter.joules(0.0) == 0.0
    (first / "energy_uj").write_text("998000000")
    (second / "energy_uj").write_text("5000000")  # it began again at 1000
    assert meter.joules(0.0) == pytest.approx(8 + 15)
    assert meter.joules(1e9) == pytest.approx(8 + 15)


def test_without_counters_there_is_no_meter(tmp_path: Path):
    assert energy.processor_meter(tmp_path / "absent") is None
    zone = _zone(tmp_path, "intel-rapl:0", "package-0", 1.0)
    (zone / "energy_uj").unlink()
    assert energy.processor_meter(tmp_path) is None


def test_a_gpu_is_metered_by_its_uuid_if_nvml_is_there(monkeypatch):
    asked: list[str] = []

    class Failed(Exception):
        pass

    nvml = types.SimpleNamespace(
        NVMLError=Failed,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: asked.append(uuid) or "handle",
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: 7000 * len(asked),
    )
    properties = types.SimpleNamespace(uuid="1234")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setitem(__import__("sys").modules, "pynvml", nvml)
    meter = energy.meter_for(torch.device("cuda"))
    assert meter is not None and asked == ["GPU-1234"]
    asked.append("")
    assert meter.joules(0.0) == 7.0

    def refused() -> None:
        raise Failed

    nvml.nvmlInit = refused
    assert energy.meter_for(torch.device("cuda")) is None
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    assert energy.meter_for(torch.device("cuda")) is None
