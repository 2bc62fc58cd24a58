"""``hqsim diff``: what changed between two runs, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from hqsim.analysis.errors import ALONE
from hqsim.analysis.run_folder import TENSORS, Run

if TYPE_CHECKING:
    import pandas as pd

KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "layers": ("layer",),
        "errors": ("layer", "mode"),
        "sensitivity": ("layer",),
        "activations": ("layer", "operand", "transform"),
        "weights": ("layer", "transform"),
        "codes": ("layer", "operand"),
        "accumulators": ("layer",),
        "growth": ("step",),
        "quality": ("executor",),
        "cost": ("machine", "name"),
        "totals": ("machine",),
    }
)
"""What names a row of each table. Rows of several steps are compared by their means."""
EQUAL, DIFFERENT, ABSENT = "equal", "different", "in neither"
LAYER_COLUMNS = (
    "layer",
    "formats",
    "alone_change_db",
    "share_change_percent",
    "latency_change_percent",
    "energy_change_percent",
)


@dataclass(frozen=True, eq=False, kw_only=True)
class RunDiff:
    """Two runs, ``first`` and ``second`` by name.

    Attributes
    ----------
    settings
        Settings and inputs that differ: ``what``, ``first``, ``second``.
    parts
        Every part: ``part``, ``state`` (equal, different, only in one of them, in neither), ``rows`` compared
        and ``changed`` rows.
    changes
        Every figure that differs: ``part``, ``row`` (its keys), ``column``, ``first``, ``second`` and, of
        numbers, ``change``, second less first.
    layers
        Every layer of which something differs: ``layer``; ``formats``, what changed in widths, transforms
        and bounds, in words; ``alone_change_db``, of its own SQNR against float, mean over the steps;
        ``share_change_percent``, of its share of the final error; ``latency_change_percent`` and
        ``energy_change_percent`` on ``machine``, the first that both runs have.
    machine
        That machine, empty without one.
    """

    first: str
    second: str
    settings: pd.DataFrame
    parts: pd.DataFrame
    changes: pd.DataFrame
    layers: pd.DataFrame
    machine: str

    @property
    def equal(self) -> bool:
        """Whether no part differs."""
        return bool(self.parts["state"].isin([EQUAL, ABSENT]).all())

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        tables = {
            name: getattr(self, name).to_dict("records")
            for name in ("settings", "parts", "changes", "layers")
        }
        return {
            "first": self.first,
            "second": self.second,
            "equal": self.equal,
            "machine": self.machine,
            **tables,
        }


def diff_runs(first: Run, second: Run) -> RunDiff:
    """Compare two runs part by part; parts that only one of them has are named, not compared."""
    import pandas as pd

    parts: list[dict[str, Any]] = []
    changes = [pd.DataFrame(columns=["part", "row", "column", "first", "second", "change"])]
    for part, keys in KEYS.items():
        frames = [getattr(run, part) for run in (first, second)]
        state = _presence([not frame.empty for frame in frames], (first.name, second.name))
        row = {"part": part, "state": state, "rows": 0, "changed": 0}
        if state == DIFFERENT:
            tables = [_by_row(frame, keys) for frame in frames]
            found = _changes(*tables)
            changed = found["row"].nunique() if len(found) else 0
            row |= {"rows": len(tables[0].index.union(tables[1].index)), "changed": changed}
            row["state"] = DIFFERENT if changed else EQUAL
            if changed:
                changes.append(found.assign(part=part))
        parts.append(row)
    for attribute in TENSORS:
        parts.append(_tensors(attribute, first, second))
    machine = _shared_machine(first, second)
    every_change = pd.concat(changes, ignore_index=True)
    return RunDiff(
        first=first.name,
        second=second.name,
        settings=_settings(first, second),
        parts=pd.DataFrame(parts),
        changes=every_change,
        layers=_layers(first, second, every_change, machine),
        machine=machine,
    )


def _presence(present: list[bool], names: tuple[str, str]) -> str:
    if all(present):
        return DIFFERENT
    if not any(present):
        return ABSENT
    return f"only in {'the first' if present[0] else 'the second'} ({names[present.index(True)]})"


def _by_row(frame: pd.DataFrame, keys: tuple[str, ...]) -> pd.DataFrame:
    """One row per key; of several (steps) the means of their numbers."""
    if not frame.duplicated(list(keys)).any():
        return frame.set_index(list(keys))
    steps = [name for name in ("step", "timestep") if name in frame and name not in keys]
    return frame.drop(columns=steps).groupby(list(keys), sort=False).mean(numeric_only=True)


def _changes(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Every cell of the shared rows that differs, then the rows that one table alone has."""
    import pandas as pd

    shared = first.index.intersection(second.index, sort=False)
    cells = pd.concat(
        [table.loc[shared].astype(object).stack() for table in (first, second)],
        axis=1,
        keys=["first", "second"],
    )
    same = (cells["first"] == cells["second"]) | (cells["first"].isna() & cells["second"].isna())
    found = cells[~same].copy()
    found["change"] = [_change(*pair) for pair in zip(found["first"], found["second"], strict=True)]
    found.insert(0, "row", [_text(place[:-1]) for place in found.index])
    found.insert(1, "column", [place[-1] for place in found.index])
    alone = [
        {"row": _text(key), "column": "row", "first": key in first.index, "second": key in second.index}
        for key in first.index.symmetric_difference(second.index, sort=False)
    ]
    return pd.concat([found, pd.DataFrame(alone, columns=found.columns)], ignore_index=True)


def _text(key: Any) -> str:
    return " / ".join(str(part) for part in key) if isinstance(key, tuple) else str(key)


def _change(first: Any, second: Any) -> float:
    """Second less first, of numbers."""
    if any(isinstance(value, str | bool | np.bool_) for value in (first, second)):
        return np.nan
    return float(second) - float(first)


def _tensors(attribute: str, first: Run, second: Run) -> dict[str, Any]:
    """State of a part that holds arrays; they are equal or not."""
    sides = [getattr(run, attribute) for run in (first, second)]
    state = _presence([bool(side) for side in sides], (first.name, second.name))
    names = sides[0].keys() | sides[1].keys()
    row = {"part": TENSORS[attribute] + ".safetensors", "state": state, "rows": 0, "changed": 0}
    if state != DIFFERENT:
        return row
    changed = sum(
        name not in sides[0] or name not in sides[1] or not np.array_equal(sides[0][name], sides[1][name])
        for name in names
    )
    return row | {"state": DIFFERENT if changed else EQUAL, "rows": len(names), "changed": changed}


def _settings(first: Run, second: Run) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for part in ("settings", "inputs"):
        sides = [run.manifest[part] for run in (first, second)]
        for name in sorted(sides[0].keys() | sides[1].keys()):
            values = [side.get(name) for side in sides]
            if values[0] != values[1]:
                rows.append({"what": name, "first": values[0], "second": values[1]})
    return pd.DataFrame(rows, columns=["what", "first", "second"])


def _shared_machine(first: Run, second: Run) -> str:
    if first.cost.empty or second.cost.empty:
        return ""
    others = set(second.cost["machine"])
    return next((str(name) for name in first.cost["machine"].unique() if name in others), "")


def _layers(first: Run, second: Run, changes: pd.DataFrame, machine: str) -> pd.DataFrame:
    """One row per layer with a change, in execution order."""
    import pandas as pd

    found: dict[str, dict[str, Any]] = {}
    for change in changes[changes["part"] == "layers"].to_dict("records"):
        text = f"{change['column']} {_shown(change['first'])} -> {_shown(change['second'])}"
        if change["column"] == "row":
            text = f"only in {first.name if change['first'] else second.name}"
        row = found.setdefault(change["row"], {})
        row["formats"] = f"{row['formats']}; {text}" if row else text
    for name, part, column, prefix, suffix in (
        ("alone_change_db", "errors", "sqnr_db", "", f" / {ALONE}"),
        ("share_change_percent", "sensitivity", "share_percent", "", ""),
        ("latency_change_percent", "cost", "latency_s", f"{machine} / ", ""),
        ("energy_change_percent", "cost", "energy_pj", f"{machine} / ", ""),
    ):
        chosen = changes[(changes["part"] == part) & (changes["column"] == column)]
        for change in chosen.to_dict("records"):
            if change["row"].startswith(prefix) and change["row"].endswith(suffix):
                layer = change["row"].removeprefix(prefix).removesuffix(suffix)
                relative = 100.0 / change["first"] if part == "cost" else 1.0
                found.setdefault(layer, {})[name] = relative * change["change"]
    order = dict.fromkeys([*first.layers.get("layer", []), *second.layers.get("layer", [])])
    rows = [{"layer": layer, **found[layer]} for layer in order if layer in found]
    return pd.DataFrame(rows, columns=LAYER_COLUMNS)


def _shown(value: Any) -> str:
    """A cell in words: widths without a point."""
    import pandas as pd

    if pd.isna(value):
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
