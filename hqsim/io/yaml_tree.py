"""From YAML text to plain data, with the place of every key and value; nothing in the file is ever run.

PyYAML serves as a parser of events only: its constructors, tags and YAML 1.1 scalars are never
reached. Scalars follow the core schema of YAML 1.2.2, section 10.3.2.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import yaml

from hqsim.errors import InputError

YamlValue = bool | int | float | str | list["YamlValue"] | dict[str, "YamlValue"] | None
Position = tuple[int, int]

MAX_DEPTH = 40
MAX_NODES = 50_000
MAX_ALIASES = 100

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_NUMBER_BASES = {"0o": 8, "0x": 16}
_LONGEST_NUMBER = 64
_INTEGER_RANGE = range(-(2**63), 2**64)

_TAB_IN_INDENTATION = re.compile(r"^ *\t", re.MULTILINE)
_HINTS = {
    "mapping values are not allowed here": "put text that holds ': ' in quotes, or check the indentation",
    "cannot start any token": "put text that starts with this character in quotes",
    "could not find expected ':'": "every line of a mapping is 'key: value'",
    "expected <block end>": "check the indentation of this line",
}

_FASTEST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Place:
    """Where a value stands (line and column from 1), where its key stands, and the places inside it."""

    value: Position
    key: Position
    children: Mapping[str | int, Place] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class _Tree:
    """One node: data, place, and the number of nodes and levels that it has with all aliases expanded."""

    data: YamlValue
    place: Place
    nodes: int
    height: int


def shorten(text: str, limit: int = 40) -> str:
    """Return ``text`` fit for one line of an error: control characters escaped, cut after ``limit``."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:limit])
    return shown if len(text) <= limit else f"{shown}... ({len(text)} characters)"


def core_scalar(text: str) -> bool | int | float | str | None:
    """Return what a plain (unquoted) scalar means in the core schema of YAML 1.2.

    Raises
    ------
    ValueError
        If a number does not fit: an integer beyond 64 bits, a decimal beyond float64.
    """
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    if _INTEGER.fullmatch(text):
        base = _NUMBER_BASES.get(text[:2], 10)
        number = int(text, base) if len(text) <= _LONGEST_NUMBER else None
        if number is None or number not in _INTEGER_RANGE:
            raise ValueError(f"integer {shorten(text)} does not fit in 64 bits")
        return number
    match = _FLOAT.fullmatch(text)
    if match is None:
        return text
    value = float(text)
    vanished = value == 0.0 and re.search("[1-9]", re.split("[eE]", text)[0]) is not None
    if math.isinf(value) or vanished:
        raise ValueError(f"number {shorten(text)} is outside the range of a 64-bit float")
    return value


def build_tree(text: str, source: str, *, own: bool = False) -> tuple[YamlValue, Place]:
    """Return the data of the only document in ``text`` and its places.

    Text of our ``own``, a file that the package ships, is read by PyYAML's C parser where there is one. It is
    fifteen times as fast and lets some of what YAML forbids pass, so it never meets anybody else's text; its
    faults are told by the other one.

    Raises
    ------
    InputError
        ``source:line:column: what is wrong``, for malformed YAML and for everything that this loader
        refuses: tabs in indentation, duplicate or non-text keys, tags, merge keys, several documents,
        and data beyond the limits of this module.
    """
    tab = _TAB_IN_INDENTATION.search(text)
    if tab:
        line, column = _position_at(text, tab.end() - 1)
        raise InputError(f"{source}:{line}:{column}: a tab in the indentation; YAML indents with spaces only")
    if own:
        with suppress(yaml.YAMLError, InputError, ValueError):
            return _Builder(source, _FASTEST).build(text)
    builder = _Builder(source, yaml.SafeLoader)
    try:
        return builder.build(text)
    except yaml.reader.ReaderError as error:
        line, column = _position_at(text, error.position)
        raise InputError(
            f"{source}:{line}:{column}: control character U+{error.character:04X} is not allowed in YAML"
        ) from error
    except yaml.MarkedYAMLError as error:
        raise builder.fault(error.problem_mark or error.context_mark, _explain(error)) from error
    except ValueError as error:
        raise builder.fault(
            builder.here(), "not valid YAML: a number in an escape or a directive is out of range"
        ) from error


class _Builder:
    """Turns the events of one document into a tree, by recursive descent with a bounded depth."""

    def __init__(self, source: str, events: Callable[[str], Any]) -> None:
        self._source = source
        self._parser = events
        self._anchors: dict[str, _Tree] = {}
        self._open_anchors: set[str] = set()
        self._aliases = 0
        self._nodes = 0

    def build(self, text: str) -> tuple[YamlValue, Place]:
        self._events = self._parser(text)
        try:
            self._events.get_event()
            if self._events.check_event(yaml.StreamEndEvent):
                raise InputError(f"{self._source}:1:1: the file holds no YAML document; it is empty")
            self._events.get_event()
            tree = self._node(depth=1)
            self._events.get_event()
            if not self._events.check_event(yaml.StreamEndEvent):
                raise self.fault(
                    self._events.peek_event().start_mark,
                    "a second document starts here; only one per file is allowed",
                )
        finally:
            self._events.dispose()
        if tree.data is None:
            raise InputError(f"{self._source}:1:1: the file holds no data; it is empty")
        return tree.data, tree.place

    def here(self) -> yaml.Mark:
        return self._events.get_mark()

    def fault(self, mark: yaml.Mark, text: str) -> InputError:
        return InputError(f"{self._source}:{mark.line + 1}:{mark.column + 1}: {text}")

    def _node(self, *, depth: int) -> _Tree:
        event = self._events.get_event()
        if depth > MAX_DEPTH:
            raise self.fault(event.start_mark, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            tree = self._alias(event, depth)
        else:
            tree = self._content(event, depth)
        return tree

    def _content(self, event: yaml.NodeEvent, depth: int) -> _Tree:
        if event.tag is not None:
            raise self.fault(
                event.start_mark, f"tag '{shorten(event.tag)}' is not allowed; write the plain value"
            )
        self._count(1, event.start_mark)
        if event.anchor is not None:
            self._open_anchors.add(event.anchor)
        if isinstance(event, yaml.ScalarEvent):
            tree = _Tree(self._scalar(event), _place(event), 1, 1)
        elif isinstance(event, yaml.SequenceStartEvent):
            tree = self._sequence(event, depth)
        else:
            tree = self._mapping(event, depth)
        if event.anchor is not None:
            self._open_anchors.discard(event.anchor)
            self._anchors[event.anchor] = tree
        return tree

    def _alias(self, event: yaml.AliasEvent, depth: int) -> _Tree:
        name = event.anchor
        if name in self._open_anchors:
            raise self.fault(event.start_mark, f"alias '*{name}' stands inside its own anchor '&{name}'")
        if name not in self._anchors:
            raise self.fault(event.start_mark, f"alias '*{name}' has no anchor '&{name}' before it")
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            raise self.fault(event.start_mark, f"more than {MAX_ALIASES} aliases; write the values out")
        tree = self._anchors[name]
        self._count(tree.nodes, event.start_mark)
        if depth + tree.height - 1 > MAX_DEPTH:
            raise self.fault(
                event.start_mark, f"nested deeper than {MAX_DEPTH} levels once alias '*{name}' is expanded"
            )
        position = _place(event).value
        return replace(tree, place=Place(position, position, tree.place.children))

    def _count(self, nodes: int, mark: yaml.Mark) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise self.fault(mark, f"more than {MAX_NODES} values with all aliases expanded")

    def _scalar(self, event: yaml.ScalarEvent) -> YamlValue:
        text: str = event.value
        if event.implicit[0]:
            try:
                return core_scalar(text)
            except ValueError as error:
                raise self.fault(event.start_mark, str(error)) from error
        if any(letter == "\0" or 0xD800 <= ord(letter) < 0xE000 for letter in text):
            raise self.fault(
                event.start_mark,
                "text holds an escaped NUL or half of a surrogate pair, which is not allowed",
            )
        return text

    def _sequence(self, event: yaml.SequenceStartEvent, depth: int) -> _Tree:
        items: list[_Tree] = []
        while not self._events.check_event(yaml.SequenceEndEvent):
            items.append(self._node(depth=depth + 1))
        self._events.get_event()
        children: dict[str | int, Place] = {index: item.place for index, item in enumerate(items)}
        return _join(event, [item.data for item in items], items, children)

    def _mapping(self, event: yaml.MappingStartEvent, depth: int) -> _Tree:
        items: dict[str, _Tree] = {}
        places: dict[str | int, Place] = {}
        while not self._events.check_event(yaml.MappingEndEvent):
            key, position = self._key()
            if key in items:
                first = places[key].key
                raise InputError(
                    f"{self._source}:{position[0]}:{position[1]}: key '{shorten(key)}' is given twice; "
                    f"it stands first on line {first[0]}"
                )
            items[key] = self._node(depth=depth + 1)
            places[key] = replace(items[key].place, key=position)
        self._events.get_event()
        return _join(event, {key: item.data for key, item in items.items()}, list(items.values()), places)

    def _key(self) -> tuple[str, Position]:
        event = self._events.get_event()
        if not isinstance(event, yaml.ScalarEvent):
            raise self.fault(event.start_mark, "a key must be plain text, not a list, a mapping or an alias")
        if event.tag is not None or event.anchor is not None:
            raise self.fault(event.start_mark, "a key must be plain text, without a tag or an anchor")
        key = self._scalar(event)
        if not isinstance(key, str):
            shown = shorten(event.value)
            raise self.fault(
                event.start_mark, f"key {shown or 'null'} is not text; write it in quotes: '{shown}'"
            )
        if key == "<<" and event.implicit[0]:
            raise self.fault(
                event.start_mark, "merge key '<<' is not part of YAML 1.2; write the keys out instead"
            )
        return key, _place(event).value


def _join(
    event: yaml.NodeEvent,
    data: YamlValue,
    items: list[_Tree],
    children: Mapping[str | int, Place],
) -> _Tree:
    nodes = 1 + sum(item.nodes for item in items)
    height = 1 + max((item.height for item in items), default=0)
    return _Tree(data, replace(_place(event), children=MappingProxyType(children)), nodes, height)


def _place(event: yaml.Event) -> Place:
    position = (event.start_mark.line + 1, event.start_mark.column + 1)
    return Place(position, position)


def _position_at(text: str, index: int) -> Position:
    before = text[:index]
    return before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1


def _explain(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "malformed"
    if r"'\t' that cannot start any token" in problem:
        return "a tab stands between values; use spaces"
    context = f" {error.context}:" if error.context else ""
    hint = next((hint for part, hint in _HINTS.items() if part in problem), None)
    return f"not valid YAML:{context} {problem}" + (f" ({hint})" if hint else "")
