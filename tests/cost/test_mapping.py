import pytest

from hqsim.cost import estimate_records
from hqsim.cost.mapping import FREE, LayerMapping, LevelTile, load_mapping
from hqsim.errors import InputError
from tests.cost.builders import linear, toy_hardware

RULES = """
layers:
  - match: "*"
    unit: array
    tiles:
      sram: {order: mnk, m: 8}
  - match: "down.?.conv"
    dataflow: os
    realisation: fold
    tiles:
      sram: {m: 4, k: 2}
      cache: {n: 3}
"""


def write(tmp_path, text):
    path = tmp_path / "map.yaml"
    path.write_text(text)
    return path


def test_later_rules_win_field_by_field(tmp_path):
    rules = load_mapping(write(tmp_path, RULES))
    assert rules.for_layer("up.conv") == LayerMapping(
        unit="array", tiles=(LevelTile(level="sram", order="mnk", m=8),)
    )
    assert rules.for_layer("down.0.conv") == LayerMapping(
        unit="array",
        dataflow="os",
        realisation="fold",
        tiles=(LevelTile(level="sram", order="mnk", m=4, k=2), LevelTile(level="cache", n=3)),
    )


def test_what_no_rule_matches_is_free(tmp_path):
    rules = load_mapping(write(tmp_path, "layers:\n  - {match: conv_in, dataflow: is}\n"))
    assert rules.for_layer("conv_out") == FREE
    with pytest.raises(
        InputError, match=r"map.yaml': no layer matches 'conv_in'; layers are named like 'a', 'b'"
    ):
        rules.check(["a", "b"])
    rules.check(["a", "conv_in"])


def test_all_errors_of_a_file_at_once(tmp_path):
    text = """
layers:
  - match: "*"
    dataflow: sideways
    tiles:
      sram: {order: mmk, m: 0, q: 3}
  - unit: array
"""
    with pytest.raises(InputError) as caught:
        load_mapping(write(tmp_path, text))
    lines = str(caught.value).splitlines()
    assert [line.split("map.yaml:")[1].split(": ")[:2] for line in lines] == [
        ["4:15", "layers[0].dataflow"],
        ["6:21", "layers[0].tiles.sram.order"],
        ["6:29", "layers[0].tiles.sram.m"],
        ["6:32", "layers[0].tiles.sram.q"],
        ["7:5", "layers[1].match"],
    ]
    assert "must be one of 'os', 'ws', 'is', not 'sideways'" in lines[0]


def test_an_estimate_keeps_what_is_fixed(tmp_path):
    text = "layers:\n  - match: fc\n    dataflow: os\n    tiles:\n      sram: {order: kmn, n: 2, k: 2}\n"
    rules = load_mapping(write(tmp_path, text))
    (cost,) = estimate_records([linear()], toy_hardware(), mapping=rules).costs
    assert cost.dataflow == "os"
    assert cost.mapping.tiles == (LevelTile(level="sram", order="kmn", m=3, n=2, k=2),)


def test_a_memory_that_the_machine_lacks_is_named(tmp_path):
    rules = load_mapping(write(tmp_path, "layers:\n  - match: fc\n    tiles: {cache: {m: 2}}\n"))
    with pytest.raises(InputError, match=r"layer 'fc': .* tile of memory 'cache', .* allowed: sram"):
        estimate_records([linear()], toy_hardware(), mapping=rules)
