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

from hqsim.report import ImageStrip, RunReport, VerdictCard, write_report

EVIL = "<script>alert(1)</script>\"'&</style>"
ADDRESS = re.compile(r"(?:https?:)?//[\w.]|@import|url\((?!#)", re.IGNORECASE)
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


def test_everything_is_written_and_every_link_leads_to_it(make_run, tmp_path):
    page = write_report(make_run(), tmp_path)
    assert page == tmp_path / "index.html"
    assert set(files_of(tmp_path)) == {
        "index.html", "layers.csv", "step_layers.csv", "totals.csv", "quality.csv",
        "figures/heatmap.png", "figures/images.png", "figures/energy.png", "figures/roofline.png",
    }  # fmt: skip
    reader = read(page)
    local = [link for link in reader.links if not link.startswith(("#", "data:"))]
    assert set(local) == set(files_of(tmp_path)) - {"index.html"}
    assert {link[1:] for link in reader.links if link.startswith("#")} <= set(reader.ids)
    assert len(reader.ids) == len(set(reader.ids))


def test_the_same_run_gives_the_same_bytes(make_run, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_report(make_run(), tmp_path / name)
        time.sleep(0.01)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_figures_hold_no_software_or_date(make_run, tmp_path):
    write_report(make_run(), tmp_path)
    for name in ("heatmap", "images", "energy", "roofline"):
        data = (tmp_path / "figures" / f"{name}.png").read_bytes()
        assert data.startswith(b"\x89PNG")
        assert not any(chunk in data for chunk in (b"tEXt", b"iTXt", b"zTXt", b"tIME"))


def test_the_page_asks_the_network_for_nothing(make_run, tmp_path):
    text = write_report(make_run(), tmp_path).read_text(encoding="utf-8")
    without_images = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", text)
    assert ADDRESS.search(without_images) is None
    assert "default-src 'none'" in text


def test_an_address_in_the_manifest_is_text_and_no_link(make_run, tmp_path):
    page = write_report(replace(make_run(), manifest={"source": "https://example.org/<x>"}), tmp_path)
    assert "https://example.org/&lt;x&gt;" in page.read_text(encoding="utf-8")
    assert not any("example.org" in link for link in read(page).links)


def test_hostile_text_stays_text_wherever_it_stands(tmp_path):
    steps = pd.DataFrame(
        {"layer": [EVIL], "step": [0], "timestep": [9], "mode": ["free-running"], "sqnr_db": [3.0]}
    )
    run = RunReport(
        title=EVIL,
        subtitle=EVIL,
        cards=(VerdictCard(EVIL, EVIL, "fail", EVIL),),
        images=(ImageStrip(EVIL, np.zeros((1, 2, 2), np.uint8), EVIL),),
        image_labels=(EVIL,),
        step_layers=steps,
        layers=pd.DataFrame({"layer": [EVIL], EVIL: [EVIL], f"cycles[{EVIL}]": [3]}),
        totals=pd.DataFrame({"machine": [EVIL], f"energy_pj.{EVIL}": [3.0]}),
        quality=pd.DataFrame({"executor": [EVIL]}),
        notes=(EVIL,),
        manifest={EVIL: {EVIL: EVIL}},
    )
    page = write_report(run, tmp_path)
    text = page.read_text(encoding="utf-8")
    assert "<script>alert" not in text and "alert(1)</script>" not in text
    reader = read(page)
    assert reader.count["script"] == reader.count["style"] == 1
    assert reader.texts.count(EVIL) >= 10


def test_labels_with_dollar_signs_do_not_become_formulas(make_run, tmp_path):
    run = make_run()
    strip = replace(run.images[0], executor="$\\frac{$")
    write_report(replace(run, images=(strip,), image_labels=("$x", "$\\bad{$", "3")), tmp_path)
    assert (tmp_path / "figures" / "images.png").stat().st_size > 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_figures_are_words(make_run, tmp_path, value):
    run = make_run()
    steps, layers = run.step_layers.assign(sqnr_db=value), run.layers.assign(sqnr_db=value)
    text = write_report(replace(run, step_layers=steps, layers=layers), tmp_path).read_text(encoding="utf-8")
    assert re.search(r">-?(?:nan|inf)<", text, re.IGNORECASE) is None
    word = {"nan": "\u2013", "inf": "exact", "-inf": "\u2212∞"}[str(value)]
    keys = re.findall(rf'data-v="([^"]*)">{word}<', text)
    assert len(keys) >= len(layers)
    assert set(keys) == {{"nan": "", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]}


def same(text, value):
    if isinstance(value, str):
        return text == value
    return text == "" if math.isnan(value) else float(text) == value


def test_csv_gives_back_the_very_same_numbers(make_run, tmp_path):
    run = make_run()
    write_report(run, tmp_path)
    for name in ("layers", "step_layers", "totals", "quality"):
        frame = getattr(run, name)
        with (tmp_path / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        assert header == list(frame.columns)
        assert len(rows) == len(frame)
        for texts, values in zip(rows, frame.itertuples(index=False), strict=True):
            assert all(same(text, value) for text, value in zip(texts, values, strict=True))


@pytest.mark.parametrize(
    ("field", "section", "files"),
    [
        ("step_layers", "error", {"step_layers.csv", "figures/heatmap.png"}),
        ("layers", "layers", {"layers.csv"}),
        ("totals", "machines", {"totals.csv", "figures/energy.png"}),
        ("rooflines", "rooflines", {"figures/roofline.png"}),
        ("quality", "quality", {"quality.csv"}),
        ("images", "images", {"figures/images.png"}),
        ("notes", "findings", set()),
        ("manifest", "manifest", set()),
        ("cards", "verdict", set()),
    ],
)
def test_what_is_missing_leaves_its_section_out(make_run, full_report, tmp_path, field, section, files):
    full = make_run()
    for name, run in (
        ("full", full),
        ("less", replace(full, **{field: getattr(RunReport(title=""), field)})),
    ):
        (tmp_path / name).mkdir()
        write_report(run, tmp_path / name)
    assert set(files_of(tmp_path / "full")) - set(files_of(tmp_path / "less")) == files
    assert section in read(tmp_path / "full" / "index.html").ids
    reader = read(tmp_path / "less" / "index.html")
    assert section not in reader.ids
    assert f"#{section}" not in reader.links
    assert not files & set(reader.links)


def test_a_run_of_a_title_alone_is_a_page(tmp_path):
    reader = read(write_report(RunReport(title="nothing yet"), tmp_path))
    assert "nothing yet" in reader.texts
    assert set(files_of(tmp_path)) == {"index.html"}


def test_every_cell_of_both_modes_is_drawn(make_run, tmp_path):
    reader = read(write_report(make_run(layers=12, steps=4), tmp_path))
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert len(re.findall(r"<rect [^>]*><title>[^<]*, step \d+, t = \d+: ", text)) == 2 * 12 * 4
    assert reader.count["img"] == 3 * 3 + 1  # three images of three executors, the rooflines


def test_a_large_model_stays_under_6_mb(make_run, tmp_path):
    page = write_report(make_run(layers=300, steps=20, images=40), tmp_path)
    assert page.stat().st_size < 6e6


def test_a_missing_folder_is_not_made(make_run, tmp_path):
    with pytest.raises(OSError, match="absent"):
        write_report(make_run(), tmp_path / "absent")


def test_an_unknown_status_is_refused():
    with pytest.raises(Exception, match=r"^verdict card 'x': status is 'ok', allowed are pass, fail, info"):
        VerdictCard("x", "1", "ok")


def test_neither_torch_nor_numba_is_loaded():
    code = "import sys, hqsim.report; print(sorted({'torch', 'numba', 'diffusers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
