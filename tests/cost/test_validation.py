"""The comparisons with published figures, and how near each of them must stay."""

import pandas as pd
import pytest

from benchmarks.validation import a100, bitfusion, eyeriss, host_cpu, tpu_v1
from benchmarks.validation.__main__ import PROPERTIES, markdown
from benchmarks.validation.macs import counted_macs, model_records
from hqsim.cost.roofline import attainable_macs_per_s, ridge_macs_per_byte
from hqsim.models import load_model
from hqsim.models.load import blueprints
from tests.cost import test_cost_properties
from tests.cost.builders import convolution, elementwise, linear


@pytest.fixture(scope="module")
def eyeriss_errors():
    table = eyeriss.compare()
    return table.set_index(["layer", "quantity"])["error_percent"]


def test_eyeriss_active_elements_and_buffer_accesses(eyeriss_errors):
    """CONV3 is left out: its measured accesses are not those of its published mapping."""
    for layer in eyeriss.LAYERS:
        assert eyeriss_errors[layer.name, "active elements"] == 0
        if layer.name != "CONV3":
            assert abs(eyeriss_errors[layer.name, "buffer MB"]) < 0.15  # the table has three digits


def test_eyeriss_frame_rate_and_dram_accesses(eyeriss_errors):
    assert abs(eyeriss_errors["all", "frames per second"]) < 5
    assert abs(eyeriss_errors["all", "processing ms"]) < 5
    assert abs(eyeriss_errors["all", "DRAM accesses per MAC"]) < 2
    for layer in eyeriss.LAYERS:
        assert abs(eyeriss_errors[layer.name, "processing ms"]) < 20
        assert abs(eyeriss_errors[layer.name, "DRAM MB"]) < 15


def test_eyeriss_rows_add_up_to_the_totals_of_the_text():
    """Per-layer figures and totals are printed apart: 34.7 frames/s, 208.5 MB, 15.4 MB, 2.66 GMAC."""
    layers = eyeriss.LAYERS
    assert 4 / sum(layer.total_ms for layer in layers) * 1e3 == pytest.approx(34.7, abs=0.05)
    assert sum(layer.buffer_mb for layer in layers) == pytest.approx(208.5, abs=0.2)
    assert sum(layer.dram_mb for layer in layers) == pytest.approx(15.4, abs=0.05)


def test_tpu_v1_roofline():
    table = tpu_v1.compare().set_index("quantity")
    assert abs(table.loc["peak TOPS", "error_percent"]) < 0.5
    assert abs(table.loc["ridge, MACs per byte", "error_percent"]) < 0.5
    applications = table.drop(["peak TOPS", "ridge, MACs per byte"])
    assert (applications["modelled"] >= applications["published"]).all()
    near = ["MLP0 TOPS", "MLP1 TOPS", "LSTM0 TOPS", "CNN0 TOPS"]
    assert (applications.loc[near, "error_percent"] < 20).all()


def test_roofline_by_hand():
    assert ridge_macs_per_byte(peak_macs_per_s=100.0, bytes_per_s=20.0) == 5
    rates = [attainable_macs_per_s(x, peak_macs_per_s=100.0, bytes_per_s=20.0) for x in (1, 5, 9)]
    assert rates == [20, 100, 100]


def test_bitfusion_cycles_are_those_of_its_simulator():
    table = bitfusion.compare()
    assert len(table) == 48
    assert (table["modelled"] == table["published"]).all()


def test_a100_matmul_latency():
    table = a100.compare()
    assert len(table) == 20
    errors = table["error_percent"]
    assert errors.abs().mean() < 15
    assert errors.abs().max() < 30
    # Nothing is faster than the model says it could be.
    assert (errors < 0).all()


def test_macs_of_the_embedded_model_by_torch():
    macs = sum(record.macs for record in model_records("digits"))
    assert macs == counted_macs(blueprints()["digits"], load_model("digits").sample_shape)


HOST_RECORDS = (
    *(
        linear(f"fc{m}", m=m, n=n, k=k, order=5)
        for m, n, k in ((50, 64, 64), (1000, 128, 64), (9000, 64, 64), (700, 64, 256), (800, 320, 96))
    ),
    *(
        convolution(f"conv{size}", channels=channels, filters=64, size=size)
        for size, channels in ((4, 8), (16, 32), (32, 16), (64, 64))
    ),
    *(
        elementwise(f"{kind}{n}", ("x",), elements=n, kind=kind)
        for kind in ("add", "norm")
        for n in (9, 10**6)
    ),
)


def test_calibration_finds_the_constants_that_made_the_times():
    hardware = host_cpu.load_hardware(host_cpu.MACHINE)
    works = {record.name: host_cpu.work_of(record, hardware) for record in HOST_RECORDS}
    names = sorted({name for work in works.values() for name in work})
    constants = {
        name: (3e-5 if name.startswith("launch") else 0.5) * (1 + index) for index, name in enumerate(names)
    }
    seconds = {
        layer: sum(constants[name] * amount for name, amount in work.items()) for layer, work in works.items()
    }
    assert host_cpu.calibrate(HOST_RECORDS, seconds) == pytest.approx(constants)


def test_small_layers_are_judged_by_their_absolute_error():
    hardware = host_cpu.load_hardware(host_cpu.MACHINE)
    add_s, norm_s = (hardware.launch_cycles(op) / hardware.clock_hz for op in ("add", "norm"))
    table = host_cpu.compare(HOST_RECORDS, {"add9": 1.5 * add_s, "norm9": 30 * norm_s}).set_index("layer")
    assert table["small"].to_dict() == {"add9": True, "norm9": False}
    assert table.loc["add9", "error_ms"] == pytest.approx(-0.5e3 * add_s, rel=0.01)
    every = host_cpu.summary(table.reset_index()).iloc[-1]
    assert (every["layers"], every["large"]) == (2, 1)
    assert every["worst_percent"] == pytest.approx(100 * 29 / 30, rel=0.01)


def test_the_page_names_properties_that_are_tested():
    for name in PROPERTIES:
        assert hasattr(test_cost_properties, f"test_{name}")


def test_tables_of_the_page():
    table = pd.DataFrame({"what": ["x", "y"], "n": [12345, 7], "error": [0.123456, float("nan")]})
    assert markdown(table, what="What", n="N", error="Error").splitlines() == [
        "| What | N | Error |",
        "|---|---:|---:|",
        "| x | 12,345 | 0.1235 |",
        "| y | 7 |  |",
        "",
    ]
