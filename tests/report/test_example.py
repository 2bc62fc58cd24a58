"""The committed example is what its README's command makes of the committed trace today."""

from dataclasses import replace
from pathlib import Path

import hqsim.report.page as page_room
from hqsim.analysis.run_folder import read_run
from hqsim.analysis.run_report import page_of
from hqsim.report.drawings import drawings_of

ROOT = Path(__file__).resolve().parents[2]


def _empty(targets):
    for target in targets:
        target.write_bytes(b"")


def test_the_example_is_of_today(tmp_path, monkeypatch):
    """Page and tables byte by byte; of the figures their names (their bytes depend on the fonts)."""
    page = page_of([read_run(ROOT / "traces" / "example")])
    drawings = tuple(replace(drawing, draw=_empty) for drawing in drawings_of(page))
    monkeypatch.setattr(page_room, "drawings_of", lambda _: drawings)
    page_room.write_report(page, tmp_path)
    made, kept = (
        {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path, ROOT / "reports" / "example")
    )
    assert made.keys() == kept.keys(), "run: hqsim report traces/example --out reports/example"
    for name, path in made.items():
        if name.parts[0] != "figures":
            assert path.read_bytes() == kept[name].read_bytes(), f"{name}: make the example again"
