"""Finite-set calibration: ranges by hand, and that each timestep and each operand has its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hqsim.errors import NumericsError
from hqsim.graph import Graph, Node, TensorType
from hqsim.numerics import Format
from hqsim.quantize.scales import operand_scale
from hqsim.quantize.torch_model import TorchModel
from hqsim.train.finite_set import Range, calibrate_operands

SIGNED = Format(bits=16, scales=(1.0,))


def _graph(**attributes):
    """An operand of the sample, and one of that operand."""
    shape = TensorType((500,))
    options = {"bits": 4, "symmetric": True, "per_timestep": True, "channel_axis": 1, **attributes}
    nodes = (
        Node("sample", "input", (), shape),
        Node("first", "quantize", ("sample",), shape, options),
        Node("carrier", "silu", ("first",), shape),
        Node("second", "quantize", ("carrier",), shape, options),
    )
    return Graph(nodes, "second")


def _calibrated(batches, width, **attributes):
    graph = _graph(**attributes)
    widths = {"sample": SIGNED, "first": width, "carrier": SIGNED, "second": width}
    return calibrate_operands(TorchModel(graph, {}), widths, batches, momentum=0.95)


def _batch(scale, seed):
    values = torch.randn((4, 500), generator=torch.Generator().manual_seed(seed)) * scale
    return {"sample": values}


def test_symmetric_range_by_hand():
    width = Format(bits=4, scales=(1.0,))
    assert Range.of(Format(bits=4, scales=(2.0,))) == Range(-15.0, 15.0)
    moved = Range(-15.0, 15.0).moved(-35.0, 35.0, 0.95)
    assert moved == Range(pytest.approx(-16.0), pytest.approx(16.0))
    assert moved.format(width).scale == pytest.approx(16.0 / 7.5)


def test_asymmetric_range_by_hand():
    width = Format(bits=4, scales=(1.0,), signed=False, zero_points=(8,))
    start = Range.of(Format(bits=4, scales=(0.5,), signed=False, zero_points=(4,)))
    assert start == Range(-2.0, 5.5)
    moved = start.moved(0.0, 15.5, 0.9)
    assert (moved.low, moved.high) == (pytest.approx(-1.8), pytest.approx(6.5))
    found = moved.format(width)
    assert found.scale == pytest.approx(8.3 / 15)
    assert found.zero_points == (3,)  # 1.8 / (8.3 / 15) = 3.25


def test_an_operand_that_is_always_zero_keeps_a_usable_scale():
    width = Format(bits=4, scales=(1.0,), signed=False, zero_points=(8,))
    assert Range(0.0, 0.0).format(width) == width


def test_the_first_batch_is_searched_the_others_move_the_range():
    width = Format(bits=4, scales=(1.0,))
    batches = [_batch(1.0, 0), _batch(3.0, 1), _batch(2.0, 2)]
    found = _calibrated([batches], width)["first"]
    values = batches[0]["sample"].numpy()
    reach = float(np.abs(values).max())
    counts = torch.histc(batches[0]["sample"], 2048, -reach, reach).double().numpy()
    expected = 7.5 * operand_scale(counts, reach, width)
    for batch in batches[1:]:
        expected = 0.95 * expected + 0.05 * float(batch["sample"].abs().max())
    assert found.scale == pytest.approx(expected / 7.5, rel=1e-9)


def test_every_timestep_begins_anew():
    width = Format(bits=4, scales=(1.0,))
    steps = [[_batch(1.0, 0), _batch(1.0, 1)], [_batch(5.0, 2), _batch(5.0, 3)]]
    together = _calibrated(steps, width)
    alone = [_calibrated([step], width) for step in steps]
    for name in ("first", "second"):
        assert together[name].scales == tuple(one[name].scale for one in alone)
    assert together["first"].scales[1] > 3 * together["first"].scales[0]


def test_one_for_all_timesteps_goes_on():
    width = Format(bits=4, scales=(1.0,))
    steps = [[_batch(1.0, 0)], [_batch(5.0, 2)]]
    found = _calibrated(steps, width, per_timestep=False)
    joined = _calibrated([[steps[0][0], steps[1][0]]], width)
    assert found["first"].scales == joined["first"].scales


def test_later_operands_see_quantized_ones():
    """With 2 bits few values are left: the second operand's range is that of silu of those."""
    width = Format(bits=2, scales=(1.0,))
    found = _calibrated([[_batch(1.0, 0), _batch(1.0, 1)]], width, bits=2)
    largest = found["first"].scale  # The codes are -2, -1, 0 and 1.
    silu = largest / (1 + np.exp(-largest))
    assert found["second"].scale * 1.5 <= silu * 1.01


def test_zero_points_per_timestep():
    width = Format(bits=8, scales=(1.0,), signed=False, zero_points=(128,))
    up = {"sample": torch.rand((2, 500), generator=torch.Generator().manual_seed(0))}
    down = {"sample": -up["sample"]}
    found = _calibrated([[up, up], [down, down]], width, symmetric=False)["first"]
    assert found.zero_points == (0, 255)
    assert len(found.scales) == 2


def test_a_value_that_is_not_finite_is_named():
    batch = {"sample": torch.full((1, 500), float("nan"))}
    with pytest.raises(NumericsError, match=r"^first: an operand is not finite"):
        _calibrated([[batch]], Format(bits=4, scales=(1.0,)))
