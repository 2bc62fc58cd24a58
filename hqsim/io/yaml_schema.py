"""From pydantic's errors to faults that a person can act on: the path, what is wrong, what is allowed.

Pydantic's error location mixes keys with the tags of union branches. Walking the model's JSON schema
along that location tells them apart, and yields the keys and ranges that are allowed there.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from hqsim.io.yaml_tree import YamlValue, core_scalar, shorten

Schema = Mapping[str, Any]
Path = tuple[str | int, ...]

_SCHEMA_SAYS_IT_ALL = frozenset(
    {
        "bool_type", "dict_type", "enum", "float_type", "greater_than", "greater_than_equal", "int_type",
        "less_than", "less_than_equal", "list_type", "literal_error", "model_attributes_type", "model_type",
        "multiple_of", "none_required", "string_pattern_mismatch", "string_too_long", "string_too_short",
        "string_type", "too_long", "too_short", "tuple_type",
    }
)  # fmt: skip
_BOUNDS = (
    ("minimum", "at least {}"),
    ("exclusiveMinimum", "greater than {}"),
    ("maximum", "at most {}"),
    ("exclusiveMaximum", "less than {}"),
    ("multipleOf", "a multiple of {}"),
    ("minLength", "at least {} characters"),
    ("maxLength", "at most {} characters"),
    ("pattern", "matching {}"),
)
_PLAIN_TYPES = {
    "integer": "an integer",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "null": "null",
}


@dataclass(frozen=True)
class SchemaFault:
    """One fault: the path in the data, the message, and whether it is the key that is at fault."""

    path: Path
    text: str
    at_key: bool = False


@dataclass(frozen=True)
class _Branch:
    """A branch that pydantic tried: the path of the union and the tag of the branch."""

    path: Path
    tag: str


@dataclass(frozen=True)
class _Located:
    """An error of pydantic at its path in the data, with the schemas there and in the mapping around it."""

    error: ErrorDetails
    path: Path
    schemas: tuple[Schema, ...]
    around: tuple[Schema, ...]
    branches: tuple[_Branch, ...]


def schema_faults(
    errors: Iterable[ErrorDetails], data: YamlValue, model: type[BaseModel]
) -> list[SchemaFault]:
    """Return the faults behind pydantic's ``errors`` about ``data``, each place once.

    Of the branches of a union only the one that fits best is kept; where no branch accepts the kind of
    the value at all, one fault lists everything that is allowed.
    """
    schemas = _Schemas(model.model_json_schema())
    located = [schemas.locate(error, data) for error in errors]
    faults: dict[Path, SchemaFault] = {}
    for item in _best_branches(located):
        fault = _describe_fault(schemas, item)
        faults.setdefault(fault.path, fault)
    return list(faults.values())


class _Schemas:
    """A model's JSON schema with its references."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._definitions: Mapping[str, Schema] = root.get("$defs", {})

    def locate(self, error: ErrorDetails, data: YamlValue) -> _Located:
        """Follow the location of ``error`` through data and schema at once."""
        here, around = self.expand(self._root), self.expand(self._root)
        path: Path = ()
        union_path: Path = ()
        branches: tuple[_Branch, ...] = ()
        value: Any = data
        for part in error["loc"]:
            if part == "[key]":
                break
            if isinstance(part, str) and (_is_union(here) or not isinstance(value, dict)):
                branches = (*branches, _Branch(path, part))
                if len(branches) == 1 or branches[-2].path != path:
                    around = here
                here = self._take_branch(here, part)
                union_path = path
                continue
            around = here
            here = tuple(inner for schema in here for inner in self._step(schema, part))
            value = _child(value, part)
            path = (*path, part)
        if branches and union_path == path:
            return _Located(error, path, around, around, branches)
        return _Located(error, path, here, around, branches)

    def expand(self, schema: Schema) -> tuple[Schema, ...]:
        """Resolve references and drop a union's null; a union of one is its only branch."""
        while "$ref" in schema:
            schema = self._definitions[schema["$ref"].rsplit("/", 1)[-1]]
        options = [option for option in _options(schema) if option.get("type") != "null"]
        if len(options) == 1:
            return self.expand(options[0])
        return (schema,)

    def options(self, schema: Schema) -> list[Schema]:
        """Return the branches of a union, expanded; any other schema alone."""
        return [inner for option in _options(schema) or [schema] for inner in self.expand(option)]

    def keys(self, schemas: Sequence[Schema]) -> list[str]:
        """Return the keys that the mappings among ``schemas`` know."""
        options = [option for schema in schemas for option in self.options(schema)]
        return sorted({key for option in options for key in option.get("properties", {})})

    def describe(self, schema: Schema) -> str:
        """Say in words what ``schema`` allows: ``an integer, at least 2, at most 16``."""
        if "$ref" in schema:
            return self.describe(self._definitions[schema["$ref"].rsplit("/", 1)[-1]])
        if "const" in schema:
            return _show(schema["const"])
        if "enum" in schema:
            return "one of " + ", ".join(_show(value) for value in schema["enum"])
        options = _options(schema)
        if "discriminator" in schema:
            tags = ", ".join(_show(tag) for tag in sorted(schema["discriminator"]["mapping"]))
            return f"a mapping with {schema['discriminator']['propertyName']} one of {tags}"
        if options:
            return " or ".join(dict.fromkeys(self.describe(option) for option in options))
        kind = schema.get("type")
        if kind == "array":
            return self._describe_list(schema)
        if kind == "object":
            keys = sorted(schema.get("properties", {}))
            return "a mapping with the keys " + ", ".join(keys) if keys else "a mapping of keys to values"
        bounds = [text.format(schema[name]) for name, text in _BOUNDS if name in schema]
        return ", ".join([_PLAIN_TYPES.get(str(kind), "a value"), *bounds])

    def _describe_list(self, schema: Schema) -> str:
        low, high = schema.get("minItems"), schema.get("maxItems")
        if low is not None and low == high:
            return f"a list of {low} values"
        limits = [f"at least {low}"] if low is not None else []
        limits += [f"at most {high}"] if high is not None else []
        inner = f", each {self.describe(schema['items'])}" if schema.get("items") else ""
        return "a list" + (f" of {' and '.join(limits)} values" if limits else "") + inner

    def _take_branch(self, schemas: Sequence[Schema], tag: str) -> tuple[Schema, ...]:
        taken: list[Schema] = []
        for schema in schemas:
            named = schema.get("discriminator", {}).get("mapping", {}).get(tag)
            options = [option for option in _options(schema) or [schema] if option.get("type") != "null"]
            matching = [{"$ref": named}] if named else [o for o in options if _name(o) == tag] or options
            taken += [inner for option in matching for inner in self.expand(option)]
        return tuple(taken)

    def _step(self, schema: Schema, part: str | int) -> tuple[Schema, ...]:
        found: Any
        if isinstance(part, int):
            first = schema.get("prefixItems", [])
            found = first[part] if part < len(first) else schema.get("items")
        else:
            found = schema.get("properties", {}).get(part, schema.get("additionalProperties"))
        return self.expand(found) if isinstance(found, dict) else ()


def _options(schema: Schema) -> list[Schema]:
    return list(schema.get("anyOf") or schema.get("oneOf") or [])


def _is_union(schemas: Sequence[Schema]) -> bool:
    return any(_options(schema) for schema in schemas)


def _name(schema: Schema) -> str:
    return str(schema["$ref"]).rsplit("/", 1)[-1] if "$ref" in schema else ""


def _child(value: Any, part: str | int) -> Any:
    if isinstance(value, dict):
        return value.get(part)
    if isinstance(value, list) and isinstance(part, int) and part < len(value):
        return value[part]
    return None


def _best_branches(located: list[_Located]) -> list[_Located]:
    """Keep, of every union, the errors of one branch: one that accepts the kind, with the fewest errors."""
    kept = located
    for level in range(max((len(item.branches) for item in located), default=0)):
        groups: dict[tuple[_Branch, ...], dict[str, list[_Located]]] = {}
        for item in kept:
            if len(item.branches) > level:
                prefix = (*item.branches[:level], replace(item.branches[level], tag=""))
                groups.setdefault(prefix, {}).setdefault(item.branches[level].tag, []).append(item)
        best = {prefix: min(tags, key=_misfit(tags, prefix[-1].path)) for prefix, tags in groups.items()}
        kept = [item for item in kept if len(item.branches) <= level or _is_best(item, level, best)]
    return kept


def _misfit(tags: dict[str, list[_Located]], path: Path) -> Callable[[str], tuple[bool, int]]:
    return lambda tag: (any(item.path == path for item in tags[tag]), len(tags[tag]))


def _is_best(item: _Located, level: int, best: Mapping[tuple[_Branch, ...], str]) -> bool:
    prefix = (*item.branches[:level], replace(item.branches[level], tag=""))
    return best[prefix] == item.branches[level].tag


def _describe_fault(schemas: _Schemas, item: _Located) -> SchemaFault:
    kind, value, context = item.error["type"], item.error["input"], item.error.get("ctx", {})
    if kind == "extra_forbidden":
        keys = schemas.keys(item.around)
        text = f"unknown key{_suggest(str(item.path[-1]), keys)}; allowed: {', '.join(keys)}"
        return SchemaFault(item.path, text, at_key=True)
    if kind == "missing":
        return SchemaFault(item.path, f"is missing; give {_describe_all(schemas, item.schemas)}")
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        return _tag_fault(schemas, item)
    if kind in {"value_error", "assertion_error"}:
        return SchemaFault(item.path, str(context.get("error", item.error["msg"])))
    if kind in _SCHEMA_SAYS_IT_ALL and item.schemas:
        wanted = _describe_all(schemas, item.schemas)
        return SchemaFault(item.path, f"must be {wanted}, not {_show(value)}{_hint(schemas, item, value)}")
    text = item.error["msg"].replace("Input should ", "must ", 1)
    return SchemaFault(item.path, f"{text}, not {_show(value)}")


def _tag_fault(schemas: _Schemas, item: _Located) -> SchemaFault:
    discriminator = next((s["discriminator"] for s in item.schemas if "discriminator" in s), None)
    if discriminator is None:
        return SchemaFault(item.path, item.error["msg"])
    tags = sorted(discriminator["mapping"])
    path = (*item.path, discriminator["propertyName"])
    allowed = "one of " + ", ".join(_show(tag) for tag in tags)
    if item.error["type"] == "union_tag_not_found":
        return SchemaFault(path, f"is missing; give {allowed}")
    tag = str(item.error.get("ctx", {}).get("tag", ""))
    return SchemaFault(path, f"must be {allowed}, not {_show(tag)}{_suggest(tag, tags)}")


def _describe_all(schemas: _Schemas, found: Sequence[Schema]) -> str:
    return " or ".join(dict.fromkeys(schemas.describe(schema) for schema in found)) or "a value"


def _hint(schemas: _Schemas, item: _Located, value: object) -> str:
    options = [option for schema in item.schemas for option in schemas.options(schema)]
    kinds = {option.get("type") for option in options}
    if isinstance(value, str):
        names = [n for o in options for n in o.get("enum", [o.get("const")]) if isinstance(n, str)]
        if kinds & {"integer", "number"} and _is_number(value):
            return " (write the number without quotes)"
        return _suggest(value, names)
    if isinstance(value, bool | int | float) and "string" in kinds:
        return " (put it in quotes)"
    return ""


def _is_number(text: str) -> bool:
    try:
        return isinstance(core_scalar(text), int | float)
    except ValueError:
        return False


def _suggest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (did you mean '{near[0]}'?)" if near else ""


def _show(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{shorten(value)}'"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)} values"
    if isinstance(value, dict):
        return "a mapping"
    return str(value)
