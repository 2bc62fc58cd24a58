"""The user's cache folder."""

from pathlib import Path

import pytest

from hqsim.io import cache_folder


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, Path.home() / ".cache" / "hqsim"),
        ({"XDG_CACHE_HOME": "/x"}, Path("/x/hqsim")),
        ({"XDG_CACHE_HOME": "/x", "HQSIM_CACHE_DIR": "/h"}, Path("/h/hqsim")),
        ({"XDG_CACHE_HOME": "", "HQSIM_CACHE_DIR": ""}, Path.home() / ".cache" / "hqsim"),
    ],
)
def test_where_it_is(monkeypatch, given, found):
    for name in ("XDG_CACHE_HOME", "HQSIM_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == found
