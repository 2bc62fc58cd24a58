"""Schema errors: every fault of a file at once, at its place, with what is allowed there."""

from enum import Enum
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from hqsim.errors import InputError
from hqsim.io.yaml import parse_yaml, validate_yaml


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class Color(Enum):
    RED = "red"
    GREEN = "green"


class Systolic(Strict):
    kind: Literal["systolic"]
    rows: int = Field(ge=1, le=512)
    dataflow: Literal["os", "ws", "is"] = "ws"


class Vector(Strict):
    kind: Literal["vector"]
    lanes: int = Field(gt=0)


Unit = Annotated[Systolic | Vector, Field(discriminator="kind")]


class Level(Strict):
    name: str
    size_bytes: float = Field(gt=0, allow_inf_nan=False)
    holds: tuple[str, ...] = ()

    @field_validator("name")
    @classmethod
    def _lower(cls, name: str) -> str:
        if name != name.lower():
            raise ValueError(f"must be in lower case, not '{name}'")
        return name


class Window(Strict):
    first: int
    last: int

    @model_validator(mode="after")
    def _ordered(self) -> "Window":
        if self.last < self.first:
            raise ValueError(f"'last' ({self.last}) must not be below 'first' ({self.first})")
        return self


class Machine(Strict):
    clock_hz: float = Field(default=1.0, gt=0)
    bits: int = Field(default=8, ge=2, le=16)
    sparse: bool = False
    unit: Unit | None = None
    units: list[Unit] = Field(default=[], max_length=3)
    levels: tuple[Level, ...] = ()
    by_name: dict[str, Level] = {}
    size: int | Literal["auto"] = "auto"
    plain: Systolic | Window | None = None
    mixed: Unit | int = 1
    pair: tuple[int, Level] | None = None
    color: Color = Color.RED
    window: Window | None = None
    nested: list[list[int]] = []
    label: str | None = Field(default=None, pattern="^[a-z]+$")
    renamed: int = Field(default=0, alias="alias-name")


def check(text):
    return validate_yaml(parse_yaml(text, "hw.yaml"), Machine)


def faults(text):
    with pytest.raises(InputError) as caught:
        check(text)
    return str(caught.value).split("\n")


def test_good_file_fills_the_model():
    machine = check(
        "clock_hz: 1e9\nbits: 010\nlevels: [{name: dram, size_bytes: 4, holds: [a, b]}]\n"
        "unit: {kind: vector, lanes: 16}\nplain: {first: 1, last: 2}\npair: [1, {name: x, size_bytes: 0.5}]\n"
        "color: green\nsize: 3\n"
    )
    assert machine.clock_hz == 1e9
    assert machine.bits == 10
    assert machine.levels == (Level(name="dram", size_bytes=4.0, holds=("a", "b")),)
    assert type(machine.levels[0].size_bytes) is float
    assert machine.unit == Vector(kind="vector", lanes=16)
    assert machine.plain == Window(first=1, last=2)
    assert machine.pair == (1, Level(name="x", size_bytes=0.5))
    assert machine.color is Color.GREEN
    assert machine.size == 3


@given(st.floats(min_value=0, exclude_min=True, allow_infinity=False))
def test_floats_reach_the_model_bit_for_bit(number):
    assert check(f"clock_hz: {number!r}").clock_hz == number


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "bits: '8'",
            "hw.yaml:1:7: bits: must be an integer, at least 2, at most 16, not '8' "
            "(write the number without quotes)",
        ),
        ("bits: true", "hw.yaml:1:7: bits: must be an integer, at least 2, at most 16, not true"),
        ("bits: 8.0", "hw.yaml:1:7: bits: must be an integer, at least 2, at most 16, not 8.0"),
        ("bits: 1", "hw.yaml:1:7: bits: must be an integer, at least 2, at most 16, not 1"),
        ("bits:", "hw.yaml:1:6: bits: must be an integer, at least 2, at most 16, not null"),
        ("clock_hz: 0", "hw.yaml:1:11: clock_hz: must be a number, greater than 0, not 0"),
        ("clock_hz: 7_e", "hw.yaml:1:11: clock_hz: must be a number, greater than 0, not '7_e'"),
        ("clock_hz: [1]", "hw.yaml:1:11: clock_hz: must be a number, greater than 0, not a list of 1 values"),
        ("sparse: no", "hw.yaml:1:9: sparse: must be true or false, not 'no'"),
        ("sparse: 1", "hw.yaml:1:9: sparse: must be true or false, not 1"),
        ("label: 8", "hw.yaml:1:8: label: must be text, matching ^[a-z]+$, not 8 (put it in quotes)"),
        ("label: A", "hw.yaml:1:8: label: must be text, matching ^[a-z]+$, not 'A'"),
        (
            "color: gren",
            "hw.yaml:1:8: color: must be one of 'red', 'green', not 'gren' (did you mean 'green'?)",
        ),
        ("size: aut", "hw.yaml:1:7: size: must be an integer or 'auto', not 'aut' (did you mean 'auto'?)"),
        ("nested:\n- [1]\n- [2, x]", "hw.yaml:3:7: nested[1][1]: must be an integer, not 'x'"),
        (
            "levels: {}",
            "hw.yaml:1:9: levels: must be a list, each a mapping with the keys holds, name, size_bytes, "
            "not a mapping",
        ),
        ("by_name: []", "hw.yaml:1:10: by_name: must be a mapping of keys to values, not a list of 0 values"),
        (
            "by_name:\n  L2: {name: x, size_bytes: .inf}",
            "hw.yaml:2:29: by_name.L2.size_bytes: must be a finite number, not inf",
        ),
        (
            "levels: [{name: DRAM, size_bytes: 1}]",
            "hw.yaml:1:17: levels[0].name: must be in lower case, not 'DRAM'",
        ),
        (
            "window: {first: 3, last: 1}",
            "hw.yaml:1:9: window: 'last' (1) must not be below 'first' (3)",
        ),
        (
            "pair: [1]",
            "hw.yaml:1:7: pair[1]: is missing; give a mapping with the keys holds, name, size_bytes",
        ),
        ("alias-name: x", "hw.yaml:1:13: alias-name: must be an integer, not 'x'"),
    ],
)
def test_one_fault(text, fault):
    assert faults(text) == [fault]


def test_document_that_is_no_mapping_and_a_field_called_by_its_python_name():
    (line,) = faults("[1]")
    assert line.startswith("hw.yaml:1:1: must be a mapping with the keys alias-name, bits, by_name, ")
    (line,) = faults("renamed: 1")
    assert line.startswith("hw.yaml:1:1: renamed: unknown key")
    assert line.endswith("allowed: " + ", ".join(sorted(Machine.model_json_schema()["properties"])))


def test_unknown_key_suggests_the_nearest_and_lists_the_allowed():
    assert faults("levels:\n  - name: a\n    size_bytes: 1\n    hold: []\n") == [
        "hw.yaml:4:5: levels[0].hold: unknown key (did you mean 'holds'?); allowed: holds, name, size_bytes"
    ]


def test_missing_key_is_placed_at_its_mapping():
    assert faults("bits: 4\nlevels:\n  - size_bytes: 1\n") == [
        "hw.yaml:3:5: levels[0].name: is missing; give text"
    ]


def test_all_faults_at_once_in_the_order_of_the_file():
    lines = faults("zz: 1\nbits: 99\nunit:\n  kind: systolic\n  rows: 0\n  rwos: 1\nclock_hz: -1\n")
    assert [line.split(": ")[0] for line in lines] == [
        "hw.yaml:1:1",
        "hw.yaml:2:7",
        "hw.yaml:5:9",
        "hw.yaml:6:3",
        "hw.yaml:7:11",
    ]
    assert (
        lines[3]
        == "hw.yaml:6:3: unit.rwos: unknown key (did you mean 'rows'?); allowed: dataflow, kind, rows"
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "unit: {kind: sytolic}",
            "hw.yaml:1:14: unit.kind: must be one of 'systolic', 'vector', not 'sytolic' "
            "(did you mean 'systolic'?)",
        ),
        ("unit: {rows: 3}", "hw.yaml:1:7: unit.kind: is missing; give one of 'systolic', 'vector'"),
        ("unit: 3", "hw.yaml:1:7: unit: must be a mapping with kind one of 'systolic', 'vector', not 3"),
        (
            "units: [{kind: vector, lanes: 0}]",
            "hw.yaml:1:31: units[0].lanes: must be an integer, greater than 0, not 0",
        ),
        (
            "units:\n- kind: vector\n  lanes: 1\n  row: 1",
            "hw.yaml:4:3: units[0].row: unknown key; allowed: kind, lanes",
        ),
        (
            "mixed: {kind: vector, lanes: x}",
            "hw.yaml:1:30: mixed.lanes: must be an integer, greater than 0, not 'x'",
        ),
        (
            "mixed: x",
            "hw.yaml:1:8: mixed: must be a mapping with kind one of 'systolic', 'vector' or an integer, "
            "not 'x'",
        ),
        ("plain: {first: 1, last: x}", "hw.yaml:1:25: plain.last: must be an integer, not 'x'"),
        (
            "plain: {kind: systolic, rows: 4, dataflow: ow}",
            "hw.yaml:1:44: plain.dataflow: must be one of 'os', 'ws', 'is', not 'ow' (did you mean 'ws'?)",
        ),
    ],
)
def test_unions_report_the_branch_that_was_meant(text, fault):
    assert faults(text) == [fault]


def test_branch_of_the_right_kind_is_kept_even_with_more_faults():
    assert faults("mixed: {kind: systolic, rows: 0, row: 1}") == [
        "hw.yaml:1:31: mixed.rows: must be an integer, at least 1, at most 512, not 0",
        "hw.yaml:1:34: mixed.row: unknown key (did you mean 'rows'?); allowed: dataflow, kind, rows",
    ]


def test_faults_inside_an_alias_are_placed_where_the_value_is_written():
    assert faults("levels:\n  - &l {name: a, size_bytes: 0}\n  - *l\n") == [
        "hw.yaml:2:30: levels[0].size_bytes: must be a number, greater than 0, not 0",
        "hw.yaml:2:30: levels[1].size_bytes: must be a number, greater than 0, not 0",
    ]


def test_values_with_line_ends_and_escapes_stay_on_one_line():
    (line,) = faults('bits: "4\\n\\e[31m"')
    assert line == "hw.yaml:1:7: bits: must be an integer, at least 2, at most 16, not '4\\n\\x1b[31m'"


def test_long_list_and_long_text_are_named_by_their_size():
    (line,) = faults("bits: " + "x" * 5000)
    assert line.endswith("(5000 characters)'")
    (line,) = faults("units: [" + "{kind: vector, lanes: 1}, " * 4 + "]")
    assert "must be a list of at most 3 values" in line
    assert line.endswith("not a list of 4 values")
