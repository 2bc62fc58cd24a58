import pytest

from hqsim.cost.residency import plan_residency
from hqsim.errors import InputError
from tests.cost.builders import elementwise, memory


def skip_network(weight_bytes=0):
    """x -> a -> b -> c, then a and c -> d; every tensor has 40 bytes, layer c may have weights."""
    return [
        elementwise("a", ("x",)),
        elementwise("b", ("a",)),
        elementwise("c", ("b",), weight_bytes=weight_bytes),
        elementwise("d", ("c", "a")),
    ]


def sram(size_bytes):
    return (memory("sram", size_bytes, 8),)


def exchange(plan):
    return [(layer.input_from_dram, layer.output_to_dram) for layer in plan.layers]


def test_live_sets_hold_the_skip_tensor():
    plan = plan_residency(skip_network(), sram(120))
    assert [layer.live_bytes for layer in plan.layers] == [80, 80, 120, 120]
    assert plan.peak_live_bytes == plan.peak_on_chip_bytes == 120


def test_what_fits_moves_only_the_model_input_and_output():
    plan = plan_residency(skip_network(), sram(120))
    assert exchange(plan) == [
        ((True,), False),
        ((False,), False),
        ((False,), False),
        ((False, False), True),
    ]


def test_an_overflow_sends_out_the_tensor_that_the_layer_does_not_touch():
    # Layer c: 120 live + 30 of weights > 130, its own 80 + 30 fit: only a leaves, and comes back for d.
    plan = plan_residency(skip_network(weight_bytes=30), sram(130))
    assert [layer.streams for layer in plan.layers] == [False] * 4
    assert exchange(plan) == [
        ((True,), True),
        ((False,), False),
        ((False,), False),
        ((False, True), True),
    ]


def test_a_layer_that_does_not_fit_itself_streams():
    # Layer d touches 120 > 100 bytes: c and a come from DRAM, so c was written there.
    plan = plan_residency(skip_network(), sram(100))
    assert [layer.streams for layer in plan.layers] == [False, False, False, True]
    assert exchange(plan) == [
        ((True,), True),
        ((False,), False),
        ((False,), True),
        ((True, True), True),
    ]


def test_weights_stay_when_all_of_them_fit_beside_every_live_set():
    assert plan_residency(skip_network(weight_bytes=30), sram(150)).weights_resident
    assert not plan_residency(skip_network(weight_bytes=30), sram(149)).weights_resident


def test_a_tensor_read_twice_by_one_layer_is_fetched_once():
    plan = plan_residency([elementwise("square", ("x", "x"))], sram(1000))
    assert plan.layers[0].input_from_dram == (True, False)
    assert plan.layers[0].live_bytes == 80


def test_two_writers_of_one_tensor_are_refused():
    records = [elementwise("a", ("x",)), elementwise("b", ("a",)), elementwise("a", ("b",))]
    with pytest.raises(InputError, match=r"layer 'a' writes tensor 'a', which layer 'a' already used"):
        plan_residency(records, sram(1000))
    with pytest.raises(InputError, match=r"writes tensor 'x', which an earlier layer as its input already"):
        plan_residency([elementwise("a", ("x",)), elementwise("x", ("a",))], sram(1000))


def test_memories_hold_only_their_kinds():
    records = skip_network(weight_bytes=30)
    activations = memory("activations", 120, 8, holds=frozenset({"activations", "tables"}))
    weights = memory("weights", 30, 8, holds=frozenset({"weights"}))
    # 120 bytes are live in layer c: they fit, because its weights lie elsewhere.
    for on_chip in ((weights, activations), (activations, weights)):
        plan = plan_residency(records, on_chip)
        assert exchange(plan) == exchange(plan_residency(skip_network(), sram(120)))
        assert plan.weights_resident
        assert plan.peak_on_chip_bytes == 120
    small = memory("weights", 29, 8, holds=frozenset({"weights"}))
    assert not plan_residency(records, (small, activations)).weights_resident


def test_without_a_memory_for_activations_everything_streams():
    plan = plan_residency(skip_network(), (memory("sums", 1000, 8, holds=frozenset({"sums"})),))
    assert all(layer.streams and layer.output_to_dram for layer in plan.layers)
    assert not plan.weights_resident
