"""How layers are mapped: what an estimate chose for a layer, and rules that fix a part of the choice.

A mapping file is a list of rules over layer names; what no rule fixes stays free, and where several rules
match, the later one wins field by field::

    layers:
      - match: "*.attn1.*"
        unit: matrix
        dataflow: os
      - match: "conv_in"
        realisation: fold
        tiles:
          sram: {order: mnk, m: 1024, n: 64}
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from hqsim.errors import InputError
from hqsim.io.yaml import load_yaml, validate_yaml

Order = Literal["mnk", "mkn", "nmk", "nkm", "kmn", "knm"]
ORDERS: tuple[str, ...] = get_args(Order)


@dataclass(frozen=True, kw_only=True)
class LevelTile:
    """The largest tile ``m`` x ``n`` x ``k`` that a memory holds, and the loops over its tiles.

    ``order`` names the loops, outermost first. In a rule a field that is None is free, and the
    sizes are upper limits.
    """

    level: str
    order: str | None = None
    m: int | None = None
    n: int | None = None
    k: int | None = None


@dataclass(frozen=True, kw_only=True)
class LayerMapping:
    """The mapping of one layer; None (and a memory without a tile) leaves the choice free."""

    unit: str | None = None
    dataflow: str | None = None
    realisation: str | None = None
    tiles: tuple[LevelTile, ...] = ()

    @property
    def text(self) -> str:
        """``array ws runtime; sram mkn 512 x 192 x 864``: unit, dataflow, realisation, a tile per memory."""
        head = " ".join(filter(None, (self.unit, self.dataflow, self.realisation)))
        tiles = (f"{tile.level} {tile.order} {tile.m} x {tile.n} x {tile.k}" for tile in self.tiles)
        return "; ".join((head, *tiles))


FREE = LayerMapping()


@dataclass(frozen=True, kw_only=True)
class MappingRule:
    """``mapping`` for the layers whose name matches the wildcard ``match`` (``*``, ``?``, ``[...]``)."""

    match: str
    mapping: LayerMapping


@dataclass(frozen=True, kw_only=True)
class MappingRules:
    """Rules in the order of their file, which ``source`` names."""

    source: str
    rules: tuple[MappingRule, ...]

    def for_layer(self, name: str) -> LayerMapping:
        """Return what the rules fix for a layer, the later rule winning field by field."""
        mapping = FREE
        for rule in self.rules:
            if fnmatch.fnmatchcase(name, rule.match):
                mapping = _overlay(mapping, rule.mapping)
        return mapping

    def check(self, names: Iterable[str]) -> None:
        """Check that every rule matches a layer; ``names`` are those of all layers.

        Raises InputError that lists all rules without a layer.
        """
        layers = list(names)
        idle = [rule.match for rule in self.rules if not fnmatch.filter(layers, rule.match)]
        if idle:
            raise InputError(
                f"mapping '{self.source}': no layer matches {', '.join(map(repr, idle))}; "
                f"layers are named like {', '.join(map(repr, layers[:3]))}, wildcards are * ? []."
            )


def _overlay(below: Any, above: Any) -> Any:
    """Return the mapping (or tile) ``below`` with every field that ``above`` gives."""
    given = {name: value for name, value in vars(above).items() if value is not None and name != "tiles"}
    merged = replace(below, **given)
    if isinstance(above, LevelTile):
        return merged
    tiles = {tile.level: tile for tile in below.tiles}
    for tile in above.tiles:
        tiles[tile.level] = _overlay(tiles.get(tile.level, LevelTile(level=tile.level)), tile)
    return replace(merged, tiles=tuple(tiles.values()))


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


Size = Annotated[int, Field(gt=0)]
Text = Annotated[str, Field(min_length=1)]


class TileFile(_Strict):
    """What one memory holds: the order of the loops and the largest tile."""

    order: Order | None = None
    m: Size | None = None
    n: Size | None = None
    k: Size | None = None


class RuleFile(_Strict):
    """One rule; what it leaves out stays free."""

    match: Text
    unit: Text | None = None
    dataflow: Literal["os", "ws", "is"] | None = None
    realisation: Literal["runtime", "fold", "parity", "double"] | None = None
    tiles: dict[Text, TileFile] = Field(default_factory=dict)

    def rule(self) -> MappingRule:
        """Return the checked rule."""
        tiles = tuple(LevelTile(level=level, **dict(tile)) for level, tile in self.tiles.items())
        return MappingRule(
            match=self.match,
            mapping=LayerMapping(
                unit=self.unit, dataflow=self.dataflow, realisation=self.realisation, tiles=tiles
            ),
        )


class MappingFile(_Strict):
    """A mapping file."""

    layers: Annotated[list[RuleFile], Field(min_length=1)]


def load_mapping(path: str | Path) -> MappingRules:
    """Load the rules of a YAML file.

    Raises
    ------
    InputError
        For a missing or malformed file, or values that the schema refuses (all of them at once, each
        with file, line and column). Unit and memory names are checked against the machine when the
        rules are used, ``check`` compares the wildcards with the layers.
    """
    document = load_yaml(Path(path))
    file = validate_yaml(document, MappingFile)
    return MappingRules(source=str(path), rules=tuple(rule.rule() for rule in file.layers))
