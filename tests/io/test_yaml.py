"""The YAML loader: scalars of YAML 1.2, places, and a set of hostile files that must end in a clear error."""

import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hqsim.cost.hardware import hardware_folder
from hqsim.errors import InputError
from hqsim.io.yaml import MAX_SIZE_BYTES, load_yaml, parse_yaml
from hqsim.io.yaml_tree import MAX_ALIASES, MAX_DEPTH, MAX_NODES
from hqsim.quantize.recipe import FOLDER


def value_of(text):
    return parse_yaml(f"key: {text}\n", "f.yaml").data["key"]


def refusal(text):
    with pytest.raises(InputError) as caught:
        parse_yaml(text, "f.yaml")
    message = str(caught.value)
    assert re.match(r"f\.yaml:\d+:\d+: ", message)
    assert "\n" not in message
    return message


# Values from the tables of YAML 1.2.2, section 10.3.2, and the cases where PyYAML's YAML 1.1 differs.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7e-12", 7e-12),
        ("1e6", 1_000_000.0),
        ("+12.e3", 12000.0),
        (".5", 0.5),
        ("-0.0", -0.0),
        ("0x1F", 31),
        ("0o17", 15),
        ("010", 10),
        ("-19", -19),
        ("+7", 7),
        ("18446744073709551615", 2**64 - 1),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("Yes", "Yes"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("tRUE", "tRUE"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("-0x1F", "-0x1F"),
        ("2024-01-31", "2024-01-31"),
        ("e5", "e5"),
        ("1e", "1e"),
        (".", "."),
        ("١٢", "١٢"),
        ("'8'", "8"),
        ('"true"', "true"),
        ("''", ""),
    ],
)
def test_scalars_follow_yaml_1_2_core(text, expected):
    found = value_of(text)
    assert found == expected
    assert type(found) is type(expected)


def test_infinity_and_nan_are_numbers():
    assert value_of(".inf") == math.inf
    assert value_of("-.INF") == -math.inf
    assert math.isnan(value_of(".NaN"))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_python_floats_come_back_unchanged(number):
    assert value_of(repr(number)) == number


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63)
        | st.text(st.characters(codec="ascii"), max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text("ab<1~", max_size=3), inner, max_size=3)
        ),
        max_leaves=8,
    ).filter(lambda data: data is not None)
)
def test_json_is_yaml(data):
    assert parse_yaml(json.dumps(data), "f.yaml").data == data


@given(st.text("\t\n :-?*&!|>%@`{}[],#\"'\\~0x.ea\0é", max_size=40))
def test_any_text_gives_data_or_one_located_error(text):
    try:
        parse_yaml(text, "f.yaml")
    except InputError as error:
        assert re.match(r"f\.yaml:\d+:\d+: [^\n]+$", str(error))


def test_places_of_keys_values_and_items():
    text = "top:\n  list:\n    - 1\n    - name: x\n  flow: {a: 7, b: [8, 9]}\n"
    document = parse_yaml(text, "f.yaml")
    assert document.data == {"top": {"list": [1, {"name": "x"}], "flow": {"a": 7, "b": [8, 9]}}}
    assert document.locate(("top", "list", 0)) == (3, 7)
    assert document.locate(("top", "list", 1, "name")) == (4, 13)
    assert document.locate(("top", "list", 1, "name"), key=True) == (4, 7)
    assert document.locate(("top", "flow", "b", 1)) == (5, 23)
    assert document.locate(("top", "flow", "b"), key=True) == (5, 16)
    assert document.locate(("top", "flow", "absent", 3)) == document.locate(("top", "flow")) == (5, 9)


def test_error_about_a_value_names_file_place_and_path():
    document = parse_yaml("levels:\n  - size_bytes: 3\n", "hw.yaml")
    error = document.error(("levels", 0, "size_bytes"), "too small")
    assert str(error) == "hw.yaml:2:17: levels[0].size_bytes: too small"


def test_alias_repeats_the_value_and_keeps_its_places():
    document = parse_yaml("a: &x {n: 1}\nb: *x\n", "f.yaml")
    assert document.data == {"a": {"n": 1}, "b": {"n": 1}}
    assert document.locate(("b",)) == (2, 4)
    assert document.locate(("b", "n")) == (1, 11)


@pytest.mark.parametrize("text", ["a:\n\tb: 1\n", "a:\n  \tb: 1\n", "a: 1\n\t\nb: 2\n", "- 1\n\t- 2\n"])
def test_tab_in_indentation(text):
    assert "a tab in the indentation; YAML indents with spaces only" in refusal(text)


def test_tab_in_indentation_is_located():
    assert refusal("a:\n  \tb: 1\n").startswith("f.yaml:2:3: a tab")


def test_tab_between_values():
    assert refusal("a: \t1\n") == "f.yaml:1:4: a tab stands between values; use spaces"


@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 3\n", "{a: 1, b: 2,\n'a': 3}"])
def test_duplicate_key_names_both_lines(text):
    assert re.search(r"key 'a' is given twice; it stands first on line 1$", refusal(text))


def test_duplicate_key_in_a_nested_mapping_is_located():
    assert refusal("m:\n  k: 1\n  k: 1\n").startswith("f.yaml:3:3: key 'k'")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("1: a", "key 1 is not text; write it in quotes: '1'"),
        ("true: a", "key true is not text"),
        ("~: a", "key ~ is not text"),
        ("? [a]\n: 1", "a key must be plain text, not a list, a mapping or an alias"),
        ("a: &x b\n*x : 1", "a key must be plain text, not a list, a mapping or an alias"),
        ("!!str a: 1", "a key must be plain text, without a tag or an anchor"),
        ("<<: {a: 1}", "merge key '<<' is not part of YAML 1.2"),
    ],
)
def test_keys_that_are_not_plain_text(text, what):
    assert what in refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch hacked']",
        "a: !!python/name:os.system",
        "a: !!python/object:builtins.dict {}",
        "a: !custom 1",
        "a: !!int '8'",
        "a: ! 8",
        "- !!set {x}",
    ],
)
def test_tags_are_refused(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "is not allowed; write the plain value" in refusal(text)
    assert list(tmp_path.iterdir()) == []


def test_alias_bomb_is_stopped_where_it_grows():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    message = refusal("\n".join(lines))
    assert message.startswith("f.yaml:5:")
    assert f"more than {MAX_NODES} values with all aliases expanded" in message


def test_number_of_aliases_is_limited():
    allowed = "a: &x 1\nb: [" + ", ".join(["*x"] * MAX_ALIASES) + "]"
    assert parse_yaml(allowed, "f.yaml").data["b"] == [1] * MAX_ALIASES
    assert f"more than {MAX_ALIASES} aliases" in refusal(allowed.replace("[", "[*x, "))


def test_number_of_values_is_limited():
    assert f"more than {MAX_NODES} values" in refusal("[" + "1," * MAX_NODES + "]")


def test_alias_inside_its_own_anchor():
    assert "alias '*a' stands inside its own anchor '&a'" in refusal("a: &a [1, *a]")


def test_alias_without_anchor():
    assert refusal("a: *b") == "f.yaml:1:4: alias '*b' has no anchor '&b' before it"


def test_depth_is_limited():
    assert parse_yaml("[" * MAX_DEPTH + "]" * MAX_DEPTH, "f.yaml").data != []
    assert f"nested deeper than {MAX_DEPTH} levels" in refusal("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))
    assert f"nested deeper than {MAX_DEPTH} levels" in refusal("[" * 100_000)
    assert f"nested deeper than {MAX_DEPTH} levels" in refusal("- " * 100_000)


def test_depth_counts_expanded_aliases():
    chain = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, MAX_DEPTH)]
    assert f"nested deeper than {MAX_DEPTH} levels once alias" in refusal("\n".join(chain))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a: 1\n---\nb: 2\n", "f.yaml:2:1: a second document starts here"),
        ("", "f.yaml:1:1: the file holds no YAML document; it is empty"),
        ("# only a comment\n", "f.yaml:1:1: the file holds no YAML document; it is empty"),
        ("---\n...\n", "f.yaml:1:1: the file holds no data; it is empty"),
        ("a: b: c", "f.yaml:1:5: not valid YAML: mapping values are not allowed here (put text that holds"),
        ("a: [1, 2", "f.yaml:1:9: not valid YAML: while parsing a flow sequence: expected ',' or ']'"),
        ("a: 1\n  b: 2", "f.yaml:2:4: not valid YAML: mapping values are not allowed here"),
        ("a: @b", "f.yaml:1:4: not valid YAML: while scanning for the next token: found character '@'"),
        ("a: 'x", "f.yaml:1:6: not valid YAML: while scanning a quoted scalar"),
        ("%YAML 2.0\n---\na: 1", "f.yaml:1:1: not valid YAML: found incompatible YAML document"),
        ("%YAML 1." + "9" * 5000 + "\n---\na: 1", "a number in an escape or a directive is out of range"),
    ],
)
def test_malformed_documents(text, what):
    assert what in refusal(text)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a: 1\nb: x\0y\n", "f.yaml:2:5: control character U+0000 is not allowed"),
        ("a: \x1b[31m", "f.yaml:1:4: control character U+001B is not allowed"),
        ("a: \ud800", "control character U+D800 is not allowed"),
        ('a: "x\\0"', "escaped NUL"),
        ('a: "\\ud800"', "half of a surrogate pair"),
        ('a: "\\U00110000"', "a number in an escape or a directive is out of range"),
    ],
)
def test_characters_that_text_must_not_hold(text, what):
    assert what in refusal(text)


@pytest.mark.parametrize(
    ("number", "what"),
    [
        ("18446744073709551616", "does not fit in 64 bits"),
        ("-9223372036854775809", "does not fit in 64 bits"),
        ("9" * 100_000, "(100000 characters) does not fit in 64 bits"),
        ("1e999", "outside the range of a 64-bit float"),
        ("1e-999", "outside the range of a 64-bit float"),
    ],
)
def test_numbers_that_do_not_fit(number, what):
    message = refusal(f"a: {number}")
    assert what in message
    assert len(message) < 150


def test_zero_with_a_large_exponent_is_zero():
    assert value_of("0.0e-999") == 0.0


def test_control_characters_of_a_key_are_escaped_in_the_error():
    assert "key '\\x1b[31m' is given twice" in refusal('"\\e[31m": 1\n"\\e[31m": 2\n')


def test_load_reads_utf8_with_or_without_byte_order_mark(tmp_path):
    path = tmp_path / "f.yaml"
    for prefix in (b"", b"\xef\xbb\xbf"):
        path.write_bytes(prefix + "name: Größe\r\nbits: 4\r\n".encode())
        document = load_yaml(path)
        assert document.data == {"name": "Größe", "bits": 4}
        assert document.locate(("bits",)) == (2, 7)
        assert document.source == str(path)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"a: 1\nb: \xe9t\xe9\n", ":2:4: byte 0xE9 is not UTF-8; save the file as UTF-8"),
        ("a: 1".encode("utf-16"), ":1:1: the file is UTF-16; save it as UTF-8"),
        (b"#" * (MAX_SIZE_BYTES + 1), f":1:1: larger than {MAX_SIZE_BYTES} bytes"),
    ],
)
def test_load_refuses_wrong_bytes(content, what, tmp_path):
    path = tmp_path / "f.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(f"{path}{what}")):
        load_yaml(path)


def test_parse_refuses_text_beyond_the_size_limit():
    assert "larger than" in refusal("#" + "é" * (MAX_SIZE_BYTES // 2))


def test_load_of_a_missing_file_a_folder_and_an_endless_device(tmp_path):
    with pytest.raises(InputError, match=r"absent\.yaml: cannot be read: No such file or directory"):
        load_yaml(tmp_path / "absent.yaml")
    with pytest.raises(InputError, match="is a folder; give a YAML file"):
        load_yaml(tmp_path)
    with pytest.raises(InputError, match="larger than"):
        load_yaml(Path("/dev/zero"))


SHIPPED = (*sorted(hardware_folder().glob("*.yaml")), *sorted(FOLDER.glob("*.yaml")))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_files_that_are_shipped_read_the_same_by_both_parsers(path):
    assert load_yaml(path, own=True) == load_yaml(path)


def test_faults_of_own_text_are_told_as_those_of_any_other():
    for text in ("a: 1\na: 2\n", "a: [1\nb: 2\n", "a: &b *b\n", 'a: "\\uD800"\n'):
        with pytest.raises(InputError) as caught:
            parse_yaml(text, "f.yaml", own=True)
        assert str(caught.value) == refusal(text)
