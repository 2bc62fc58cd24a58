import csv
import math
import re
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from hqsim.errors import InputError
from hqsim.report import (
    Answer,
    ComparisonReport,
    Finding,
    ImageStrip,
    Page,
    RunReport,
    VerdictCard,
    write_report,
)
from hqsim.report.details import LayerDetail
from hqsim.report.drawings import drawings_of
from hqsim.report.figures import save_images
from hqsim.report.grid import grid_of
from hqsim.report.tradeoff import Point, Tradeoff

EVIL = "<script>alert(1)</script>\"'&</style>"
VOID = {"meta", "input", "img", "br", "stop", "rect", "line"}


class Reader(HTMLParser):
    """Counts tags, keeps addresses and texts, and checks that every tag is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.count, self.links, self.ids, self.texts = [], {}, [], [], []

    def handle_starttag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1
        values = dict(attrs)
        self.links += [values[name] for name in ("href", "src") if name in values]
        self.ids += [values["id"]] if "id" in values else []
        if tag not in VOID or (
            tag == "rect" and self.get_starttag_text().endswith(">") and "/>" not in self.get_starttag_text()
        ):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def read(page):
    reader = Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    assert reader.open == []
    return reader


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def no_figures(monkeypatch):
    """Leave the figures out: they take most of the time."""
    monkeypatch.setattr("hqsim.report.page.drawings_of", lambda page: ())


FIGURES = {
    "errors", "shares", "growth", "energy", "roofline", "timeline", "images", "layer-1",
}  # fmt: skip


def test_everything_is_written_and_every_link_leads_to_it(full_report):
    figures = {f"figures/1-hqdm-channel-w4a4-{name}.{kind}" for name in FIGURES for kind in ("png", "pdf")}
    tables = {f"{name}.csv" for name in ("layers", "errors", "totals", "quality", "histograms", "maxima")}
    assert set(files_of(full_report)) == {"index.html"} | tables | figures
    reader = read(full_report / "index.html")
    local = [link for link in reader.links if not link.startswith(("#", "data:"))]
    assert set(local) == tables | figures
    assert {link[1:] for link in reader.links if link.startswith("#")} <= set(reader.ids)
    assert len(reader.ids) == len(set(reader.ids))


def test_figures_hold_no_software_or_date_and_embed_their_fonts(full_report):
    for path in (full_report / "figures").iterdir():
        data = path.read_bytes()
        if path.suffix == ".png":
            assert data.startswith(b"\x89PNG")
            assert not any(chunk in data for chunk in (b"tEXt", b"iTXt", b"zTXt", b"tIME"))
        else:
            assert b"CreationDate" not in data and b"/Type3" not in data
            assert b"/FontFile2" in data or b"/Font " not in data


def test_the_same_page_gives_the_same_bytes(make_run, make_page, no_figures, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_report(make_page(make_run(), replace(make_run(), name="other")), tmp_path / name)
        time.sleep(0.01)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_several_runs_share_tables_and_are_told_apart(make_run, make_page, no_figures, tmp_path):
    page = write_report(make_page(make_run(), replace(make_run(), name="other")), tmp_path)
    rows = pd.read_csv(tmp_path / "layers.csv")
    assert rows["run"].value_counts().to_dict() == {"hqdm-channel-w4a4": 12, "other": 12}
    assert {"comparison.csv", "claims.csv"} <= set(files_of(tmp_path))
    reader = read(page)
    assert {"answers", "pareto", "comparison", "claims", "run-1", "run-2", "findings", "findings-2"} <= set(
        reader.ids
    )
    assert len(reader.ids) == len(set(reader.ids))
    assert {link[1:] for link in reader.links if link.startswith("#")} <= set(reader.ids)


def test_two_runs_of_one_name_are_refused(make_run):
    with pytest.raises(InputError, match=r"^runs of the page: got \['a', 'a'\]; give at least one"):
        Page(title="x", runs=(RunReport(name="a"), RunReport(name="a")))


def test_the_page_asks_the_network_for_nothing(full_report):
    text = (full_report / "index.html").read_text(encoding="utf-8")
    text = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", text)
    text = re.sub(r'"packed":\[\[.*?\]\]', "", text).replace("http://www.w3.org/2000/svg", "")
    text = re.sub(r"(?m)^\s*// .*$", "", text)
    assert re.search(r"(?:https?:)?//[\w.]|@import|url\((?!#)", text) is None
    assert "default-src 'none'" in text


def test_an_address_in_the_manifest_is_text_and_no_link(make_run, make_page, no_figures, tmp_path):
    run = replace(make_run(), manifest={"source": "https://example.org/<x>"})
    page = write_report(make_page(run), tmp_path)
    assert "https://example.org/&lt;x&gt;" in page.read_text(encoding="utf-8")
    assert not any("example.org" in link for link in read(page).links)


def evil_page():
    """Return a page on which every text is hostile."""
    steps = pd.DataFrame({"layer": [EVIL], "step": [0], "timestep": [9], "sqnr_db": [3.0]})
    run = RunReport(
        name=EVIL,
        subtitle=EVIL,
        cards=(VerdictCard(EVIL, EVIL, "fail", EVIL),),
        findings=(Finding(EVIL, EVIL, EVIL, EVIL, (EVIL,)),),
        images=(ImageStrip(EVIL, np.zeros((1, 2, 2), np.uint8), EVIL),),
        image_labels=(EVIL,),
        grids=(grid_of(steps, "sqnr_db", name="e", title=EVIL, unit=EVIL, table="errors"),),
        shares=pd.DataFrame({"layer": [EVIL], "share_percent": [50.0]}),
        layers=pd.DataFrame({"layer": [EVIL], EVIL: [EVIL], f"cycles[{EVIL}]": [3]}),
        details={EVIL: LayerDetail(outliers=pd.DataFrame({EVIL: [EVIL]}))},
        totals=pd.DataFrame({"machine": [EVIL], f"energy_pj.{EVIL}": [3.0]}),
        quality=pd.DataFrame({"executor": [EVIL]}),
        manifest={EVIL: {EVIL: EVIL}},
    )
    point = Point(label=EVIL, group=EVIL, cost=1.0, quality=1.0, low=0.0, high=2.0)
    comparison = ComparisonReport(
        answers=(Answer(EVIL, EVIL, (EVIL,)),),
        table=pd.DataFrame({"run": [EVIL]}),
        view=pd.DataFrame({"run": [EVIL]}),
        views={EVIL: ["run"]},
        common=EVIL,
        claims=pd.DataFrame({"claim": [EVIL]}),
        tradeoffs=(
            Tradeoff(name=EVIL, title=EVIL, cost_label=EVIL, unit="pj", quality_label=EVIL, points=(point,)),
        ),
    )
    return Page(title=EVIL, subtitle=EVIL, runs=(run, RunReport(name="b")), comparison=comparison)


def test_hostile_text_stays_text_wherever_it_stands(no_figures, tmp_path):
    page = write_report(evil_page(), tmp_path)
    text = page.read_text(encoding="utf-8")
    assert "<script>alert" not in text and "alert(1)</script>" not in text
    reader = read(page)
    assert (reader.count["script"], reader.count["style"]) == (2, 1)
    assert reader.texts.count(EVIL) >= 18


def test_hostile_names_stay_inside_the_folder_of_figures():
    paths = [drawing.path for drawing in drawings_of(evil_page())]
    assert all(re.fullmatch(r"figures/[A-Za-z0-9._-]+", path) for path in paths)
    assert len(set(paths)) == len(paths)


def test_labels_with_dollar_signs_do_not_become_formulas(make_run, tmp_path):
    run = make_run()
    strip = replace(run.images[0], executor="$\\frac{$")
    save_images((strip,), ("$x", "$\\bad{$", "3"), tmp_path / "images.png")
    assert (tmp_path / "images.png").stat().st_size > 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_figures_are_words(make_run, make_page, no_figures, tmp_path, value):
    run = make_run()
    quality = run.quality.assign(sqnr_db=value)
    text = write_report(make_page(replace(run, quality=quality)), tmp_path).read_text(encoding="utf-8")
    assert re.search(r">-?(?:nan|inf)<", text, re.IGNORECASE) is None
    word = {"nan": "\u2013", "inf": "exact", "-inf": "\u2212∞"}[str(value)]
    keys = re.findall(rf'data-v="([^"]*)">{word}<', text)
    assert len(keys) >= len(quality)
    assert {"nan": "", "inf": "Infinity", "-inf": "-Infinity"}[str(value)] in keys


def same(text, value):
    if isinstance(value, str):
        return text == value
    return text == "" if math.isnan(value) else float(text) == value


def test_csv_gives_back_the_very_same_numbers(make_run, make_page, no_figures, tmp_path):
    run = make_run()
    write_report(make_page(run), tmp_path)
    for name, frame in {
        "layers": run.layers, "errors": run.tables["errors"], "totals": run.totals, "quality": run.quality,
    }.items():  # fmt: skip
        with (tmp_path / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        assert header == ["run", *frame.columns]
        assert len(rows) == len(frame)
        for texts, values in zip(rows, frame.itertuples(index=False), strict=True):
            assert texts[0] == run.name
            assert all(same(text, value) for text, value in zip(texts[1:], values, strict=True))


@pytest.mark.parametrize(
    ("field", "section"),
    [
        ("grids", "grids"), ("shares", "shares"), ("curves", "curves"), ("layers", "layers"),
        ("totals", "machines"), ("rooflines", "rooflines"), ("timelines", "timelines"),
        ("quality", "quality"), ("images", "images"), ("findings", "findings"), ("manifest", "manifest"),
        ("cards", "verdict"),
    ],
)  # fmt: skip
def test_what_is_missing_leaves_its_section_out(
    make_run, make_page, full_report, no_figures, tmp_path, field, section
):
    less = replace(make_run(), **{field: getattr(RunReport(name="x"), field)})
    assert section in read(full_report / "index.html").ids
    reader = read(write_report(make_page(less), tmp_path))
    assert section not in reader.ids
    assert f"#{section}" not in reader.links


def test_what_is_missing_has_no_figure(make_run, make_page):
    bare = RunReport(name="x")
    assert drawings_of(make_page(bare)) == ()
    names = {drawing.name for drawing in drawings_of(make_page(replace(make_run(), rooflines=())))}
    assert names == FIGURES - {"roofline"} | {f"layer-{rank}" for rank in range(2, 6)}


def test_a_run_of_a_name_alone_is_a_page(tmp_path):
    reader = read(write_report(Page(title="nothing yet", runs=(RunReport(name="x"),)), tmp_path))
    assert "nothing yet" in reader.texts
    assert set(files_of(tmp_path)) == {"index.html"}


def test_a_large_model_stays_under_6_mb(make_run, make_page, no_figures, tmp_path):
    page = write_report(make_page(make_run(layers=300, steps=20, images=40)), tmp_path)
    assert page.stat().st_size < 6e6


def test_a_missing_folder_is_not_made(make_run, make_page, tmp_path):
    with pytest.raises(OSError, match="absent"):
        write_report(make_page(make_run()), tmp_path / "absent")


def test_an_unknown_status_is_refused():
    with pytest.raises(Exception, match=r"^verdict card 'x': status is 'ok', allowed are pass, fail, info"):
        VerdictCard("x", "1", "ok")


def test_neither_torch_nor_numba_is_loaded():
    code = "import sys, hqsim.report; print(sorted({'torch', 'numba', 'diffusers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
