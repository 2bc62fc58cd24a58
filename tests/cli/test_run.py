"""Exit codes, and the errors that go with them."""

import re

import pytest

from hqsim.cli.console import report_error
from hqsim.errors import HqsimError, InputError, NumericsError, UnsupportedError


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        (InputError("layer 'a' has 1 bit"), 2, r"hqsim: error: layer 'a' has 1 bit\n"),
        (UnsupportedError("aten.foo in 'mid'"), 2, r"hqsim: error: aten\.foo in 'mid'\n"),
        (NumericsError("NaN in 'mid'"), 3, r"hqsim: numerics check failed: NaN in 'mid'\n"),
        (HqsimError("other"), 1, r"hqsim: error: other\n"),
        (
            ZeroDivisionError("division by zero"),
            1,
            r"hqsim: internal fault: ZeroDivisionError: division by zero\n"
            r"This is a bug in hqsim\. Run again with HQSIM_TRACEBACK=1 to see where it happened\.\n",
        ),
        (PermissionError(13, "Permission denied", "/x/y"), 2, r"hqsim: error: /x/y: Permission denied\n"),
        (
            OSError(28, "No space left on device"),
            1,
            r"hqsim: internal fault: OSError: .*No space left.*\n.*\n",
        ),
        (KeyboardInterrupt(), 130, r"hqsim: interrupted\n"),
    ],
)
def test_each_kind_of_error_has_its_code_and_text(hqsim, world, fault, code, message):
    world.fault = fault
    answer = hqsim("models")
    assert answer.code == code
    assert answer.out == ""
    assert re.fullmatch(message, answer.err)


def test_success_is_zero(hqsim, world):
    assert hqsim("models").code == 0


def test_traceback_on_request(hqsim, world, monkeypatch):
    world.fault = ZeroDivisionError("division by zero")
    monkeypatch.setenv("HQSIM_TRACEBACK", "1")
    answer = hqsim("models")
    assert answer.code == 1
    assert answer.err.startswith("Traceback (most recent call last):")
    assert "in models" in answer.err


def test_no_traceback_without_request(hqsim, world, monkeypatch):
    world.fault = ZeroDivisionError("division by zero")
    monkeypatch.setenv("HQSIM_TRACEBACK", "0")
    assert "Traceback" not in hqsim("models").err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["frobnicate"], r"No such command 'frobnicate'"),
        (["verfy", "x"], r"Did you mean 'verify'\?"),
        (["models", "--frobnicate"], r"No such option: --frobnicate"),
        (["quantize", "digits"], r"Missing option '--recipe'"),
        (["verify", "x", "--steps", "0"], r"0 is not in the range x>=1|greater than or equal to 1"),
        (["verify", "x", "--against", "[red]"], r"\[red\]"),
    ],
)
def test_usage_errors_are_bad_input(hqsim, world, arguments, text):
    answer = hqsim(*arguments)
    assert answer.code == 2
    assert answer.out == ""
    assert re.search(text, " ".join(answer.err.replace("│", " ").split()))
    assert world.calls == []


def test_markup_in_a_message_is_shown_as_it_is(hqsim, world):
    answer = hqsim("quantize", "[bold]digits[/bold]", "--recipe", "hqdm-w4a4", "--out", "never-made")
    assert answer.code == 2
    assert re.match(r"hqsim: error: unknown model '\[bold\]digits\[/bold\]'", answer.err)


def test_a_long_message_is_not_wrapped(capsys):
    report_error("x" * 500)
    assert capsys.readouterr().err == f"hqsim: {'x' * 500}\n"


def test_version(hqsim):
    answer = hqsim("--version")
    assert answer.code == 0
    assert re.fullmatch(r"hqsim \d+\.\d+\.\d+\n", answer.out)


def test_help_names_every_verb_and_the_exit_codes(hqsim):
    answer = hqsim("--help")
    assert answer.code == 0
    for verb in ("demo", "models", "quantize", "verify", "simulate", "estimate", "hw"):
        assert re.search(rf"^│ {verb} ", answer.out, re.MULTILINE)
    assert "0 done, 2 bad input, 3 numerics check failed" in answer.out


def test_no_verb_prints_the_help(hqsim):
    answer = hqsim()
    assert answer.code == 2
    assert "Usage: hqsim" in answer.out + answer.err
