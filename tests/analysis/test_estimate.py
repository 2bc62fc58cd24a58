"""Estimates of real models: records against an independent count, recipes against each other."""

import pytest

from hqsim.analysis.estimate import estimate, records_of
from hqsim.errors import InputError


def _macs_by_torch(module, example):
    """The math backend, because the counter does not know the fused attention of CPUs."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(**example)
    return counter.get_total_flops() // 2


def test_macs_of_the_records_are_torchs_flops_halved(tiny_module, tiny_model):
    import torch

    example = {
        "sample": torch.zeros(1, 1, 16, 16),
        "timestep": torch.zeros(1, dtype=torch.int64),
        "class_labels": torch.zeros(1, dtype=torch.int64),
    }
    records = records_of(tiny_model, recipe="ptq-w8a8", batch=1, guidance=1.0, steps=20)
    assert sum(record.macs for record in records) == _macs_by_torch(tiny_module, example)


@pytest.mark.parametrize("machine", ["edge-npu-16x16", "tpu-v4i"])
def test_totals_are_the_sums_of_the_layers(tiny_qmodel, machine):
    result = estimate(tiny_qmodel, machine, guidance=1.5)
    assert result.total["cycles"] == result.layers["cycles"].sum()
    assert result.total["energy_pj"]["total"] == pytest.approx(result.layers["energy_pj"].sum(), rel=1e-9)
    assert result.total["macs"] == result.layers["macs"].sum()
    run = result.total["run"]
    assert run["steps"] == 20
    assert run["macs"] == 20 * result.total["macs"]


def test_guidance_doubles_the_products(tiny_qmodel):
    plain = estimate(tiny_qmodel, "edge-npu-16x16", guidance=1.0)
    guided = estimate(tiny_qmodel, "edge-npu-16x16", guidance=1.5)
    assert guided.total["macs"] == 2 * plain.total["macs"]
    assert "sampler.guidance" in set(guided.layers["name"]) - set(plain.layers["name"])


def test_the_single_hadamard_costs_multiplier_bits_and_not_storage(tiny_model):
    plain, wide, narrow = (
        estimate(tiny_model, "edge-npu-16x16", recipe=recipe).layers.set_index("name")
        for recipe in ("ptq-w4a4", "hqdm-w4a4", "hqdm-channel-w4a4")
    )
    layer = "mid_block.resnets.0.conv1"  # 8 wide, 16 channels: order 3 both ways
    assert [frame.loc[layer, "storage_bits_a"] for frame in (plain, wide, narrow)] == [4, 4, 4]
    assert [frame.loc[layer, "multiplier_bits_a"] for frame in (plain, wide, narrow)] == [4, 7, 7]
    layer = "mid_block.attentions.0.to_q"  # 16 channels: order 4 along channels, order 3
    assert [frame.loc[layer, "multiplier_bits_a"] for frame in (plain, wide, narrow)] == [4, 8, 7]


def test_a_recipe_for_a_quantized_model_is_refused(tiny_qmodel):
    with pytest.raises(InputError, match=r"^recipe: got 'ptq-w8a8' for a model that is already quantized"):
        estimate(tiny_qmodel, "edge-npu-16x16", recipe="ptq-w8a8")


def test_a_batch_of_nothing_is_refused(tiny_model):
    with pytest.raises(InputError, match=r"^batch: got 0, allowed 1 and more$"):
        estimate(tiny_model, "edge-npu-16x16", batch=0)
