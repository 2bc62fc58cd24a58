"""Capture: the graph computes what the diffusers module computes, under the module's own names."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from hqsim.errors import UnsupportedError
from hqsim.graph.capture import capture
from hqsim.ops import OPERATORS
from hqsim.quantize.torch_model import TorchModel

LIMIT = 1e-5
LEAVES = {"conv2d": nn.Conv2d, "linear": nn.Linear, "group_norm": nn.GroupNorm, "embedding": nn.Embedding}


def _inputs(model, images):
    generator = torch.Generator().manual_seed(3)
    return {
        "sample": torch.randn(images, *model.sample_shape, generator=generator),
        "timestep": torch.randint(0, model.schedule.train_timesteps, (images,), generator=generator),
        "class_labels": torch.arange(images) % (model.classes + 1),
    }


def _visits(model, inputs):
    return {
        visit.node.name: visit.value for visit in TorchModel(model.graph, model.parameters).walk(inputs, 0)
    }


@torch.no_grad()
def _call(module, inputs):
    return module(**inputs, return_dict=False)[0]


@pytest.mark.parametrize("images", [1, 5])
def test_the_graph_computes_what_the_module_computes(tiny_module, tiny_model, images):
    inputs = _inputs(tiny_model, images)
    found = _visits(tiny_model, inputs)[tiny_model.graph.output]
    assert (found - _call(tiny_module, inputs)).abs().max() < LIMIT


def test_the_graph_of_digits_computes_what_diffusers_computes(digits_model):
    from diffusers import UNet2DModel

    from hqsim.models.load import CHECKPOINTS

    module = UNet2DModel.from_pretrained(CHECKPOINTS / "digits" / "unet").eval()
    inputs = _inputs(digits_model, 3)
    expected = _call(module, inputs)
    found = _visits(digits_model, inputs)[digits_model.graph.output]
    assert expected.abs().max() > 0.1
    assert (found - expected).abs().max() < LIMIT


def test_every_layer_computes_what_its_module_computes(tiny_module, tiny_model):
    """Layer by layer, by name: a pair of swapped weights of one shape would not pass."""
    outputs = {}
    hooks = [
        layer.register_forward_hook(lambda _, __, output, name=name: outputs.update({name: output}))
        for name, layer in tiny_module.named_modules()
        if isinstance(layer, tuple(LEAVES.values()))
    ]
    inputs = _inputs(tiny_model, 2)
    _call(tiny_module, inputs)
    for hook in hooks:
        hook.remove()
    found = _visits(tiny_model, inputs)
    assert len(outputs) > 40
    for name, expected in outputs.items():
        assert (found[name].reshape(expected.shape) - expected).abs().max() < LIMIT, name


def test_layers_bear_the_names_of_their_modules(tiny_module, tiny_model):
    for op, kind in LEAVES.items():
        found = [node.name for node in tiny_model.graph if node.op == op]
        expected = [name for name, layer in tiny_module.named_modules() if isinstance(layer, kind)]
        assert sorted(found) == sorted(expected)


def test_every_node_knows_its_module(tiny_module, tiny_model):
    paths = {name for name, _ in tiny_module.named_modules()}
    for node in tiny_model.graph:
        assert node.module in paths
        assert node.name.startswith(node.module)


def test_parameters_are_those_of_the_state_dict(tiny_module, tiny_model):
    used = [name for node in tiny_model.graph for name in node.parameters.values()]
    assert sorted(used) == sorted(tiny_module.state_dict())
    for node in tiny_model.graph:
        assert all(name == f"{node.name}.{role}" for role, name in node.parameters.items())


def test_inputs_come_first_and_nothing_is_unused(tiny_model):
    nodes = list(tiny_model.graph)
    assert [node.name for node in nodes[:3]] == ["sample", "timestep", "class_labels"]
    assert all(node.op != "input" for node in nodes[3:])
    for node in nodes[:-1]:
        assert tiny_model.graph.consumers(node.name), node.name
    assert nodes[-1].name == tiny_model.graph.output == "conv_out"


@pytest.mark.parametrize("name", ["tiny_model", "digits_model"])
def test_shape_rules_give_the_captured_shapes(name, request):
    graph = request.getfixturevalue(name).graph
    for node in graph:
        if node.op != "input":
            rule = OPERATORS[node.op].shape(node, [graph[source].type.shape for source in node.inputs])
            assert tuple(rule) == node.type.shape, node.name


def test_results_have_the_captured_shapes(tiny_model):
    """Whatever the batch was when the graph was captured."""
    for name, value in _visits(tiny_model, _inputs(tiny_model, 3)).items():
        assert value.shape == (3, *tiny_model.graph[name].type.shape), name


def test_a_model_without_weights_gives_the_same_graph(tiny_module, tiny_model):
    """On the meta device, as for models of a billion parameters."""
    with torch.device("meta"):
        module = type(tiny_module).from_config(tiny_module.config).eval()
        example = {
            "sample": torch.zeros(2, 1, 16, 16),
            "timestep": torch.zeros(2, dtype=torch.int64),
            "class_labels": torch.zeros(2, dtype=torch.int64),
        }
    assert capture(module, example) == tiny_model.graph


def test_the_sinusoid_has_a_row_per_training_timestep(tiny_module):
    example = {
        "sample": torch.zeros(2, 1, 16, 16),
        "timestep": torch.zeros(2, dtype=torch.int64),
        "class_labels": torch.zeros(2, dtype=torch.int64),
    }
    assert capture(tiny_module, example, train_timesteps=77)["time_proj"].attributes["rows"] == 77


class _Block(nn.Module):
    def __init__(self, compute):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)
        self.scale = nn.Parameter(torch.ones(4, 1, 1))
        self.compute = compute

    def forward(self, x):
        return self.compute(self, self.conv(x))


class _Network(nn.Module):
    def __init__(self, compute):
        super().__init__()
        self.blocks = nn.ModuleList([_Block(lambda _, x: functional.silu(x)), _Block(compute)])

    def forward(self, sample, return_dict=False):
        for block in self.blocks:
            sample = block(sample)
        return (sample,)


def _capture_block(compute):
    return capture(_Network(compute).eval(), {"sample": torch.zeros(2, 4, 8, 8)})


def test_a_supported_block_is_captured():
    graph = _capture_block(lambda block, x: x + functional.silu(x))
    assert [node.name for node in graph][-3:] == ["blocks.1.conv", "blocks.1.silu", "blocks.1.add"]


REFUSED = {
    "cumsum": (lambda _, x: x.cumsum(1), r"aten\.cumsum\.default", "this operator"),
    "fft": (lambda _, x: torch.fft.fft2(x).real, r"aten\.[a-z0-9_]*fft[a-z0-9_]*\.default", "this operator"),
    "sin": (lambda _, x: x.sin(), r"aten\.sin\.default", "this operator"),
    "factor": (lambda _, x: x * 0.5, r"aten\.mul\.Tensor", r"a factor of 0\.5"),
    "product": (lambda _, x: x * functional.silu(x), r"aten\.mul\.Tensor", "an elementwise product"),
    "constant": (lambda _, x: x + 1.0, r"aten\.add\.Tensor", "a constant or a parameter as an operand"),
    "parameter": (lambda b, x: x + b.scale, r"aten\.add\.Tensor", "a constant or a parameter as an operand"),
    "ones": (lambda _, x: x + torch.ones(8), r"aten\.add\.Tensor", "a constant or a parameter as an operand"),
    "alpha": (lambda _, x: torch.add(x, functional.silu(x), alpha=2), r"aten\.add\.Tensor", "alpha 2"),
    "dilation": (
        lambda b, x: functional.conv2d(x, b.conv.weight, dilation=2),
        r"aten\.conv2d\.default",
        r"stride \[1, 1\], padding \[0, 0\], dilation \[2, 2\], groups 1",
    ),
    "same": (
        lambda b, x: functional.conv2d(x, b.conv.weight, padding="same"),
        r"aten\.conv2d\.padding",
        r"stride \[1, 1\], padding same, dilation \[1, 1\], groups 1",
    ),
    "norm": (
        lambda _, x: functional.group_norm(x, 2),
        r"aten\.group_norm\.default",
        "a norm without gain and offset",
    ),
    "batch": (
        lambda _, x: x.transpose(0, 1),
        r"aten\.transpose\.int",
        r"a permutation that moves the batch axis",
    ),
    "fold": (
        lambda _, x: x.reshape(8, 8, 8),
        r"aten\.(view|reshape|_unsafe_view)\.default",
        r"a result of shape \(8, 8, 8\) whose leading axis is not the batch",
    ),
    "select": (lambda _, x: x[:, 0], r"aten\.select\.int", "a selection of elements"),
    "resize": (
        lambda _, x: functional.interpolate(x, size=(8, 16)),
        r"aten\.upsample_nearest2d\.(vec|default)",
        "a resize of 8 x 8 to 8 x 16",
    ),
    "causal": (
        lambda _, x: functional.scaled_dot_product_attention(x, x, x, is_causal=True),
        r"aten\.scaled_dot_product_attention\.default",
        "attention with a mask, a causal order or dropout",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_rule_is_refused_with_module_and_operator(name):
    compute, operator, what = REFUSED[name]
    message = rf"^module 'blocks\.1': operator '{operator}': {what} is not supported; supported operators: "
    with pytest.raises(UnsupportedError, match=rf"{message}.*\badd\b"):
        _capture_block(compute)
