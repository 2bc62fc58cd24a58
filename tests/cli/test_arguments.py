"""Options that take several values after one flag."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hqsim.cli.arguments import split_commas, spread


@pytest.mark.parametrize(
    ("given_arguments", "expected"),
    [
        (["m", "--h", "a", "b", "c"], ["m", "--h", "a", "--h", "b", "--h", "c"]),
        (["m", "--h", "a", "b", "--x", "1", "p"], ["m", "--h", "a", "--h", "b", "--x", "1", "p"]),
        (["--h", "a", "--h", "b", "c"], ["--h", "a", "--h", "b", "--h", "c"]),
        (["--h=a", "b"], ["--h=a", "--h", "b"]),
        (["--h", "a", "--", "b", "--h", "c", "d"], ["--h", "a", "--", "b", "--h", "c", "d"]),
        (["--h"], ["--h"]),
        (["--h", "-", "a"], ["--h", "-", "--h", "a"]),
        ([], []),
    ],
)
def test_spread(given_arguments, expected):
    assert spread(given_arguments, ["--h"]) == expected


@given(st.lists(st.sampled_from(["a", "b", "--x", "--h", "-"])))
def test_spread_changes_nothing_once_it_is_spread(arguments):
    once = spread(arguments, ["--h"])
    assert spread(once, ["--h"]) == once
    assert [part for part in once if part != "--h"] == [part for part in arguments if part != "--h"]


def test_split_commas():
    assert split_commas(["a,b", " c ", "d, ,e,"]) == ["a", "b", "c", "d", "e"]
