"""The temporal information block: found by its name alone here, and by what values do when inputs change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import hqsim
from hqsim.errors import InputError, UnsupportedError
from hqsim.graph import Graph, Node, TensorType
from hqsim.models import load_model
from hqsim.ops.records import layer_records
from hqsim.quantize import load_recipe
from hqsim.quantize.lower import lower, width_formats
from hqsim.quantize.precompute import precompute_temporal
from hqsim.quantize.recipe import Recipe
from hqsim.quantize.temporal import tabulate, temporal_block
from hqsim.quantize.torch_model import TorchModel
from tests.models.families import FAMILIES, VARIANTS, random_module, save_folder

SETTINGS = {"steps": 3, "images": 2}


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """Small members of the supported families, by name, made once."""
    made = {}

    def load(name):
        if name not in made:
            class_name, config = (FAMILIES | VARIANTS)[name]
            folder = tmp_path_factory.mktemp("family") / "model"
            made[name] = load_model(save_folder(random_module(class_name, config), folder))
        return made[name]

    return load


def _values(model, graph, timestep, label, seed):
    x = torch.randn((1, *model.sample_shape), generator=torch.Generator().manual_seed(seed))
    inputs = {"sample": x, "timestep": torch.tensor([timestep]), "class_labels": torch.tensor([label])}
    runner = TorchModel(graph, model.parameters)
    return {visit.node.name: visit.value for visit in runner.walk(inputs, 0)}


def _changes(model, graph, first, second):
    """Names of the nodes whose values differ between two sets of inputs."""
    a, b = _values(model, graph, *first), _values(model, graph, *second)
    return {name for name in a if not torch.equal(a[name], b[name])}


@pytest.mark.parametrize("name", ["ldm4-bedrooms", "ldm4-imagenet", "ldm8-churches", "dit-xl-2"])
def test_block_is_what_changes_with_the_timestep_alone(family, name):
    model = family(name)
    with_time = _changes(model, model.graph, (100, 0, 1), (700, 0, 1))
    with_image = _changes(model, model.graph, (100, 0, 1), (100, 0, 2))
    with_label = _changes(model, model.graph, (100, 0, 1), (100, 1, 1))
    views = {node.name for node in model.graph if node.op in ("reshape", "permute")}
    alone = set(temporal_block(model.graph).nodes)
    assert alone - views == with_time - with_image - with_label - views
    both = temporal_block(model.graph, labels=True)
    needed = {node.name for node in model.graph if node.op == "embedding"} & set(both.nodes)
    assert set(both.nodes) - needed - views == with_time - with_image - views


def test_a_latent_model_has_every_projection_in_its_block(family):
    block = temporal_block(family("ldm4-bedrooms").graph)
    projections = [node.name for node in family("ldm4-bedrooms").graph if node.name.endswith("time_emb_proj")]
    assert list(block.embeddings) == projections
    assert set(block.nodes) - set(projections) == {
        "time_proj",
        "time_embedding.linear_1",
        "time_embedding.act",
        "time_embedding.linear_2",
        "down_blocks.0.resnets.0.nonlinearity.2",
    }


def test_a_class_embedding_ends_the_block_of_the_timestep(digits_model):
    assert temporal_block(digits_model.graph).embeddings == ("time_embedding.linear_2",)
    both = temporal_block(digits_model.graph, labels=True)
    assert "class_embedding" in both.nodes
    assert len(both.embeddings) == 11
    assert all(name.endswith("time_emb_proj") for name in both.embeddings)


def test_context_that_attention_reads_is_not_of_the_block(family):
    assert "context" not in temporal_block(family("ldm4-imagenet").graph, labels=True).nodes


def test_the_lowered_block_takes_its_quantizers_along(tiny_model):
    lowered = lower(tiny_model.graph, load_recipe("ptq-w4a4"))
    nodes = set(temporal_block(lowered).nodes)
    assert {node for node in nodes if not node.endswith(".operand")} == set(
        temporal_block(tiny_model.graph).nodes
    )
    assert {"time_embedding.linear_1.operand", "time_embedding.linear_2.operand"} <= nodes


def test_tables_take_the_place_of_the_block(family):
    lowered = lower(family("ldm8-churches").graph, load_recipe("ptq-w4a4"))
    block, graph = temporal_block(lowered), tabulate(lowered)
    tables = {node.name for node in graph if node.op == "temporal_table"}
    assert tables == set(block.embeddings)
    gone = {node.name for node in lowered} - {node.name for node in graph}
    assert gone == set(block.nodes) - tables
    for node in graph:
        assert node.type == lowered[node.name].type
        if node.name not in tables:
            assert node == lowered[node.name]


def test_a_model_without_time_has_nothing_to_tabulate():
    x = Node("sample", "input", (), TensorType((4,)))
    graph = Graph((x, Node("y", "silu", ("sample",), TensorType((4,)))), "y")
    with pytest.raises(
        UnsupportedError, match=r"^precompute_temporal: no node .* timestep alone; use false$"
    ):
        tabulate(graph)


def test_precomputed_rows_change_no_code(tiny_qmodel):
    qmodel, tabled = tiny_qmodel, precompute_temporal(tiny_qmodel)
    assert "time_embedding.linear_1" not in tabled.graph
    assert "time_embedding.linear_1.weight" not in tabled.weights
    images = [hqsim.simulate(model, images=2, steps=3) for model in (qmodel, tabled)]
    assert np.array_equal(images[0].latents, images[1].latents)
    floats = [hqsim.simulate(model, images=2, steps=3, executor="float") for model in (qmodel, tabled)]
    assert np.array_equal(floats[0].latents, floats[1].latents)


def test_the_option_of_a_recipe(family, tmp_path):
    recipe = load_recipe("ptq-w4a8").model_copy(update={"precompute_temporal": True})
    qmodel = hqsim.quantize(family("ldm4-bedrooms"), recipe, **SETTINGS)
    found = hqsim.verify(qmodel, steps=3, images=1)
    assert (found.mismatches, found.passed) == (0, True)
    loaded = hqsim.load_quantized(qmodel.save(tmp_path / "model"))
    tables = [node for node in loaded.graph if node.op == "temporal_table"]
    assert {loaded.arrays[node.name]["table"].dtype for node in tables} == {np.dtype(np.int16)}
    assert [loaded.arrays[node.name]["timesteps"].tolist() for node in tables] == [[666, 333, 0]] * len(
        tables
    )
    images = [hqsim.simulate(model, images=1, steps=3) for model in (qmodel, loaded)]
    assert np.array_equal(images[0].codes, images[1].codes)


@pytest.mark.parametrize("executor", ["integer", "exact", "fakequant"])
def test_a_timestep_without_a_row_is_refused(tiny_qmodel, executor):
    with pytest.raises(
        InputError, match=r"^'time_embedding\.linear_2': timesteps \[750\] are not all in its"
    ):
        hqsim.simulate(precompute_temporal(tiny_qmodel), images=1, steps=4, executor=executor)


def test_tables_are_charged_by_rows(family):
    """Two bytes for each channel of an embedding: one row per step, and a row for each step in memory."""
    recipe = Recipe(precompute_temporal=True)
    lowered = tabulate(lower(family("ldm4-bedrooms").graph, recipe))
    found = layer_records(lowered, width_formats(lowered, recipe, {}), images=3, guided=False, table_steps=20)
    channels = [node.type.elements for node in lowered if node.op == "temporal_table"]
    tables = [record for record in found if record.op == "temporal_table"]
    assert [record.table_bytes for record in tables] == [2 * size for size in channels]
    assert [record.table_bytes_all_steps for record in tables] == [2 * size * 20 for size in channels]
    assert [dict(record.vector) for record in tables] == [{"table": 3 * size} for size in channels]
    assert not any("time_emb" in record.name and record.matrix for record in found)


def test_estimates_know_the_option(tiny_model):
    recipe = load_recipe("ptq-w4a4")
    tabled = recipe.model_copy(update={"precompute_temporal": True})
    costs = [hqsim.estimate(tiny_model, "edge-npu-16x16", recipe=one) for one in (recipe, tabled)]
    assert "time_embedding.linear_1" in set(costs[0].layers["name"])
    assert "time_embedding.linear_1" not in set(costs[1].layers["name"])


def test_one_scale_for_all_steps_still_has_a_row_per_step(tiny_model):
    recipe = load_recipe("ptq-w4a8")
    activations = recipe.activations.model_copy(update={"per_timestep": False})
    recipe = recipe.model_copy(update={"precompute_temporal": True, "activations": activations})
    qmodel = hqsim.quantize(tiny_model, recipe, **SETTINGS)
    assert len(qmodel.arrays["time_embedding.linear_2"]["table"]) == 3
    assert hqsim.verify(qmodel, steps=3, images=1).mismatches == 0


def test_part_of_a_graph_has_what_it_reads_as_inputs(tiny_model):
    graph = tiny_model.graph
    part = graph.part(["time_embedding.act", "time_embedding.linear_2"])
    assert [(node.name, node.op) for node in part] == [
        ("time_embedding.linear_1", "input"),
        ("time_embedding.act", "silu"),
        ("time_embedding.linear_2", "linear"),
    ]
    assert part["time_embedding.linear_1"] == replace(
        part["time_embedding.linear_1"], inputs=(), type=graph["time_embedding.linear_1"].type
    )
