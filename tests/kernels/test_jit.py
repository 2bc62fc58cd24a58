"""The compilation cache follows the kernel sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from hqsim.kernels import jit, product, scalar


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "kernels"
    folder.mkdir()
    (folder / "product.py").write_text("a = 1\n")
    (folder / "scalar.py").write_text("b = 2\n")
    return folder


def test_an_unchanged_source_keeps_its_folder(sources: Path) -> None:
    before = jit._cache_folder(sources)
    (sources / "notes.txt").write_text("not a source\n")
    assert jit._cache_folder(sources) == before
    assert before.name.startswith("numba-")


def test_any_change_moves_the_cache(sources: Path) -> None:
    seen = {jit._cache_folder(sources)}
    (sources / "scalar.py").write_text("b = 3\n")
    seen.add(jit._cache_folder(sources))
    (sources / "scalar.py").rename(sources / "scalars.py")
    seen.add(jit._cache_folder(sources))
    (sources / "lut.py").write_text("")
    seen.add(jit._cache_folder(sources))
    assert len(seen) == 4


def test_the_place_can_be_chosen(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HQSIM_CACHE_DIR", str(tmp_path / "here"))
    assert jit._cache_folder(sources).parent == tmp_path / "here" / "hqsim"
    monkeypatch.delenv("HQSIM_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "there"))
    assert jit._cache_folder(sources).parent == tmp_path / "there" / "hqsim"


def test_every_kernel_and_helper_is_registered() -> None:
    for function in (product.multiply_sums, product.multiply_codes, scalar.round_shift):
        assert any(registered is function for registered in jit.KERNELS)
