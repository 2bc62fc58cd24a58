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
        self.grouped = nn.Conv2d(4, 6, 3, groups=2)
        self.scale = nn.Parameter(torch.ones(4, 1, 1))
        self.table = nn.Parameter(torch.linspace(-1, 1, 256).reshape(1, 4, 8, 8))
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


def _last_conv(graph):
    return next(node for node in reversed(graph.nodes) if node.op == "conv2d")


def test_padding_in_front_of_a_convolution_is_the_convolution_s():
    """``F.pad`` counts (left, right, top, bottom), the node (top, left, bottom, right)."""
    graph = _capture_block(
        lambda b, x: functional.conv2d(functional.pad(x, (0, 1, 2, 3)), b.conv.weight, padding=(1, 2))
    )
    assert _last_conv(graph).attributes["padding"] == (3, 2, 4, 3)
    assert graph[graph.output].type.shape == (4, 15, 13)


def test_groups_are_stated():
    graph = _capture_block(lambda b, x: b.grouped(x))
    assert _last_conv(graph).attributes["groups"] == 2
    assert graph["blocks.0.conv"].attributes["groups"] == 1


COMPUTED = {
    "chunks": lambda _, x: x.chunk(2, dim=1)[1] * x.chunk(2, dim=1)[0],
    "unequal parts": lambda _, x: x.split([1, 3], dim=1)[1],
    "a selection": lambda _, x: x[:, 1] + x.select(1, -1),
    "a gate": lambda _, x: functional.gelu(x) * (1 + functional.gelu(x, approximate="tanh")),
    "numbers": lambda _, x: (3.0 - 1.0 + 2.0 * x) / 4 - 0.5,
    "a repeated sum": lambda _, x: x[:, :, :1, :1] + x,
    "patches": lambda _, x: torch.einsum("bcpq->bpqc", x),
    "a mean": lambda _, x: functional.avg_pool2d(x, 2),
    "a norm": lambda _, x: functional.layer_norm(x, (8,)),
    "a table": lambda b, x: x + b.table,
}


@pytest.mark.parametrize("name", COMPUTED)
def test_what_has_a_rule_computes_what_torch_computes(name):
    module = _Network(COMPUTED[name]).eval()
    graph = capture(module, {"sample": torch.zeros(2, 4, 8, 8)})
    parameters = {key: value.numpy() for key, value in module.state_dict().items()}
    sample = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    *_, last = TorchModel(graph, parameters).walk({"sample": sample}, 0)
    with torch.no_grad():
        (expected,) = module(sample)
    assert expected.std() > 0.01
    assert (last.value - expected).abs().max() < LIMIT


def test_a_value_is_computed_once():
    graph = _capture_block(lambda _, x: functional.silu(x) + functional.silu(x.clone()))
    last = graph[graph.output]
    assert last.op == "add"
    assert last.inputs == ("blocks.1.silu",) * 2


REFUSED = {
    "cumsum": (lambda _, x: x.cumsum(1), r"aten\.cumsum\.default", "this operator"),
    "fft": (lambda _, x: torch.fft.fft2(x).real, r"aten\.[a-z0-9_]*fft[a-z0-9_]*\.default", "this operator"),
    "sin": (lambda _, x: x.sin(), r"aten\.sin\.default", "this operator"),
    "factor": (lambda _, x: x * -0.5, r"aten\.mul\.Tensor", r"a factor of -0\.5"),
    "product": (
        lambda _, x: x * x[:, :, :1, :2].repeat_interleave(4, -1),
        r"aten\.repeat_interleave\.self_int",
        "this operator",
    ),
    "shapes": (
        lambda _, x: x.reshape(-1, 4, 64)[:, :1] * x.reshape(-1, 4, 64)[:, :, :1],
        r"aten\.mul\.Tensor",
        r"an elementwise product of shapes \(1, 64\) and \(4, 1\)",
    ),
    "quotient": (lambda _, x: x / functional.silu(x), r"aten\.div\.Tensor", "a division of two values"),
    "difference": (lambda _, x: x - functional.silu(x), r"aten\.sub\.Tensor", "a difference"),
    "parameter": (
        lambda b, x: x + b.scale,
        r"aten\.add\.Tensor",
        r"an addition of a parameter of shape \(4, 1, 1\) to \(4, 8, 8\)",
    ),
    "ones": (lambda _, x: x + torch.ones(8), r"aten\.add\.Tensor", "a constant or a parameter as an operand"),
    "gain": (lambda b, x: x * b.scale, r"aten\.mul\.Tensor", "a constant or a parameter as an operand"),
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
    "reflection": (
        lambda b, x: b.conv(functional.pad(x, (1, 1, 1, 1), mode="reflect")),
        r"aten\.pad\.default",
        r"padding \[1, 1, 1, 1\] in mode 'reflect' with 0",
    ),
    "border": (
        lambda b, x: b.conv(functional.pad(x, (1, 1, 1, 1), value=2.0)),
        r"aten\.pad\.default",
        r"padding \[1, 1, 1, 1\] in mode 'constant' with 2\.0",
    ),
    "padding": (
        lambda _, x: functional.silu(functional.pad(x, (0, 1, 0, 1))),
        r"aten\.silu\.default",
        r"a padded operand \(only convolutions have padding\)",
    ),
    "norm": (
        lambda _, x: functional.group_norm(x, 2),
        r"aten\.group_norm\.default",
        "a norm without gain and offset",
    ),
    "axes": (
        lambda _, x: functional.layer_norm(x, (8, 8)),
        r"aten\.layer_norm\.default",
        "a norm over the last 2 axes",
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
    "part": (lambda _, x: x[:1], r"aten\.slice\.Tensor", "a part of the batch"),
    "step": (lambda _, x: x[:, ::2], r"aten\.slice\.Tensor", "a step of 2"),
    "expansion": (
        lambda _, x: x[:, :1].expand(-1, 4, -1, -1),
        r"aten\.expand\.default",
        r"an expansion of \(1, 8, 8\) to \(4, 8, 8\)",
    ),
    "contraction": (
        lambda _, x: torch.einsum("bchw,bdhw->bcd", x, x),
        r"aten\.einsum\.default",
        "'bchw,bdhw->bcd'",
    ),
    "resize": (
        lambda _, x: functional.interpolate(x, size=(8, 16)),
        r"aten\.upsample_nearest2d\.(vec|default)",
        "a resize of 8 x 8 to 8 x 16",
    ),
    "windows": (
        lambda _, x: functional.avg_pool2d(x, 3),
        r"aten\.avg_pool2d\.default",
        r"windows of \[3, 3\] with stride \[3, 3\], padding \[0, 0\]",
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
