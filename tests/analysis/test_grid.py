"""The grid: which combinations there are, and which do the same on a model."""

import pytest

from hqsim.analysis.grid import Grid, grid_plan, load_grid
from hqsim.errors import InputError


def test_every_combination_has_its_recipe(digits_model):
    plan = grid_plan([Grid(widths=("w8a4",))], digits_model.graph)
    names = [recipe.name for recipe in plan.recipes]
    assert len(names) == len(set(names)) == 2 * (1 + 6 * 2)  # none; six transforms by two orders
    recipes = {recipe.name: recipe for recipe in plan.recipes}
    recipe = recipes["channel-signs-k3-asym-w8a4"]
    assert (recipe.weights.bits, recipe.activations.bits, recipe.activations.symmetric) == (8, 4, False)
    assert recipe.hadamard.model_dump() == {
        "kind": "single", "axis": "channel", "order": 3, "signs": True,
        "partial": "largest_pow2", "realisation": "runtime",
    }  # fmt: skip
    assert recipes["double-k5-w8a4"].hadamard.axis == "none"
    assert not plan.left_out


def test_orders_that_no_axis_holds_are_left_out_with_the_reason(tiny_model):
    """The small UNet is 16 wide; its linear layers have up to 32 channels, so k = 6 is k = 5 everywhere."""
    plan = grid_plan([Grid(transforms=("width",), symmetric=(True,), orders=(5, 6))], tiny_model.graph)
    assert [recipe.name for recipe in plan.recipes] == ["width-k5-w4a4"]
    assert plan.left_out == {"width-k6-w4a4": "does the same as width-k5-w4a4 in every layer of this model"}


def test_several_grids_are_joined(tiny_model):
    narrow = Grid(transforms=("none", "channel"), symmetric=(True,), widths=("w4a3",), orders=(3,))
    both = Grid(transforms=("none",), symmetric=(True,), widths=("w4a4", "w4a3"))
    plan = grid_plan([narrow, both], tiny_model.graph)
    assert [recipe.name for recipe in plan.recipes] == ["none-w4a3", "channel-k3-w4a3", "none-w4a4"]
    assert not plan.left_out


def test_a_grid_from_a_file(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text("transforms: [none, width]\norders: [4]\n")
    assert load_grid(path) == Grid(transforms=("none", "width"), orders=(4,))
    path.write_text("transforms: [none, depth]\n")
    with pytest.raises(InputError, match="depth"):
        load_grid(path)
    path.write_text("orders: []\n")
    with pytest.raises(InputError, match="orders"):
        load_grid(path)


def test_widths_that_do_not_exist(tiny_model):
    with pytest.raises(InputError, match="w4a9"):
        grid_plan([Grid(widths=("w4a9",))], tiny_model.graph)
