"""The page in a real browser, where there is one."""

import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hqsim.analysis.comparison_view import comparison_view
from hqsim.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine to open the page with")

CLICKS = """
const section = document.getElementById("layers");
const note = (name, value) => { document.body.dataset[name] = value; };
const order = () => [...section.querySelector("tbody").rows].map((row) => row.dataset.row).join(" ");
const heading = () => section.querySelector("th[title='sqnr_db']");
heading().click();
note("orders", order());
note("sort", heading().getAttribute("aria-sort"));
section.querySelectorAll(".tabs button")[1].click();
note("othermachine", order());
section.querySelectorAll(".tabs button")[0].click();
const filter = section.querySelector(".filter");
filter.value = "conv";
filter.dispatchEvent(new Event("input"));
note("shown", section.querySelector("output").textContent);
filter.value = "";
filter.dispatchEvent(new Event("input"));
heading().click();
note("reversed", order());
heading().click();
note("restored", order());
section.querySelector("tbody tr:nth-child(2) button").click();
note("drill", document.querySelector("#drill h3").textContent);
note("charts", document.querySelectorAll("#drill svg.plot").length);
"""

COMPARE = """
const chooser = document.getElementById("run");
document.body.dataset.before = [...document.querySelectorAll(".run")].map((run) => run.hidden).join(" ");
chooser.selectedIndex = 1;
chooser.dispatchEvent(new Event("change"));
document.body.dataset.after = [...document.querySelectorAll(".run")].map((run) => run.hidden).join(" ");
document.body.dataset.points = document.querySelectorAll("#tradeoffs circle").length;
document.body.dataset.cells = document.querySelectorAll("#run-2 svg.cells path").length > 3;
"""

COMPARED_RUNS = """
const section = document.getElementById("comparison");
const order = () => [...section.querySelector("tbody").rows].map((row) => row.dataset.row).join(" ");
section.querySelector("th[title='sqnr_db']").click();
document.body.dataset.worst = order();
section.querySelector("th[title='sqnr_db']").click();
document.body.dataset.best = order();
section.querySelector("tbody button").click();
document.body.dataset.open = document.querySelector(".run:not([hidden])").id;
section.querySelectorAll(".tabs button")[1].click();
document.body.dataset.costs = [...section.querySelectorAll("thead th")].map((th) => th.title).join(" ");
"""

CUT = """
const hold = document.querySelector("#comparison .scroll");
const cut = [...document.querySelectorAll("#comparison .tabs button")].map((tab) => {
  tab.click();
  return hold.scrollWidth - hold.clientWidth;
});
document.body.dataset.cut = cut.join(" ");
"""


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    """Leave the figures out: the page draws its own."""
    monkeypatch.setattr("hqsim.report.page.drawings_of", lambda page: ())


def chromium(folder, page, *options):
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
            "--disable-dev-shm-usage", "--hide-scrollbars", "--enable-logging=stderr",
            f"--user-data-dir={folder / 'profile'}", *options, page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    return done.stdout


def after(page, script, folder, *options):
    """Return the document after ``script``, as attributes of its body."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    page.write_text(text.replace("</body>", f"<script>{{{script}}}</script></body>"), encoding="utf-8")
    body = re.search(r"<body[^>]*>", chromium(folder, page, *options, "--dump-dom"))[0]
    return dict(re.findall(r'data-(\w+)="([^"]*)"', body))


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (800, 1100)])
def test_the_page_opens_without_a_console_message(make_run, make_page, tmp_path, width, height):
    page = write_report(make_page(make_run()), tmp_path)
    shot = tmp_path / "shot.png"
    dom = chromium(tmp_path, page, f"--window-size={width},{height}", f"--screenshot={shot}", "--dump-dom")
    assert re.search(r"<html[^>]* data-script=\"ready\"", dom)
    with Image.open(shot) as image:
        assert image.size == (width, height)
        assert len(np.unique(np.asarray(image.convert("L")))) > 50


def test_layers_are_sorted_filtered_and_opened(make_run, make_page, tmp_path):
    run = make_run(layers=12)
    sqnr = np.array([50.0, np.inf, np.nan, 20.5, 9.0, 100.0, 30.0, 30.0, -1.0, 60.0, 70.0, 80.0])
    run.layers["sqnr_db"] = sqnr
    found = after(write_report(make_page(run), tmp_path), CLICKS, tmp_path)
    assert found["orders"] == found["othermachine"] == "8 4 3 6 7 0 9 10 11 5 1 2"
    assert found["reversed"] == "1 5 11 10 9 0 6 7 3 4 8 2"
    assert found["restored"] == " ".join(str(index) for index in range(12))
    assert found["sort"] == "ascending"
    convolutions = sum("conv" in name for name in run.layers["layer"])
    assert found["shown"] == f"{convolutions} of 12 layers"
    assert found["drill"] == run.layers["layer"][1]
    assert int(found["charts"]) == 3  # error by step, histogram, channel maxima


def test_a_comparison_shows_the_run_that_is_chosen(make_run, make_page, tmp_path):
    page = write_report(make_page(make_run(), replace(make_run(), name="other")), tmp_path)
    found = after(page, COMPARE, tmp_path)
    assert (found["before"], found["after"]) == ("false true", "true false")
    assert found["points"] == "2"
    assert found["cells"] == "true"


def test_compared_runs_are_sorted_and_opened(make_run, make_page, tmp_path):
    page = write_report(make_page(make_run(), replace(make_run(), name="other")), tmp_path)
    found = after(page, COMPARED_RUNS, tmp_path)
    assert (found["worst"], found["best"], found["open"]) == ("0 1", "1 0", "run-2")
    assert found["costs"] == "run sqnr_db energy_pj[edge]"


def test_the_compared_table_fits_a_window_of_1280(make_run, make_page, tmp_path):
    """Every column of a comparison, choices that differ among them, with the longest names of a grid."""
    rows = [
        {
            "run": f"channel-signs-k5-asym-w4a{bits}", "method": "channel-signs-k5-asym",
            "transform": "single", "axis": "channel", "signs": bits > 3, "order": bits, "symmetric": bits > 3,
            "trained": bits > 3, "weight_bits": bits, "activation_bits": bits, "storage_bits": 4.289,
            "multiplier_bits": 13, "multiplier_bits_mean": 8.24, "accumulator_bits": 26,
            "weight_crest": 19.5, "weight_crest_median": 4.1, "model_bytes": 1343806,
            "sqnr_db": 12.9, "sqnr_low_db": 11.2, "sqnr_high_db": 14.3,
            "psnr_db": 17.2, "frechet_distance": 22.1, "classifier_accuracy": 0.95,
            "machine": machine, "latency_s": 0.0756, "energy_pj": 1.69e10, "dram_bytes": 8.7e7,
            "pareto_energy": True, "pareto_latency": False,
        }
        for bits in (3, 4) for machine in ("edge-npu-16x16", "tpu-v4i")
    ]  # fmt: skip
    view = comparison_view(pd.DataFrame(rows))
    assert (list(view.tabs), view.common) == (["quality", "widths", "edge-npu-16x16", "tpu-v4i"], "")
    page = make_page(make_run(), replace(make_run(), name="other"))
    page = replace(page, comparison=replace(page.comparison, view=view.rows, views=view.tabs))
    found = after(write_report(page, tmp_path), CUT, tmp_path, "--window-size=1280,900")
    assert found["cut"] == "0 0 0 0"


def test_hostile_names_are_harmless_in_what_the_script_draws(make_run, make_page, tmp_path):
    evil = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
    run = make_run(layers=3)
    layers = run.layers.assign(layer=[evil, *run.layers["layer"][1:]])
    detail = {evil: next(iter(run.details.values()))}
    page = write_report(make_page(replace(run, layers=layers, details=detail, name=evil)), tmp_path)
    script = "document.querySelector('#layers tbody button').click();"
    script += "document.body.dataset.images = document.querySelectorAll('#drill img').length;"
    assert after(page, script, tmp_path)["images"] == "0"
    assert "<title>taken</title>" not in chromium(tmp_path, page, "--dump-dom")


def test_a_script_that_is_not_ours_does_not_run(make_run, make_page, tmp_path):
    page = write_report(make_page(make_run()), tmp_path)
    text = page.read_text(encoding="utf-8")
    page.write_text(
        text.replace("</body>", "<script>document.title = 'taken'</script></body>"), encoding="utf-8"
    )
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "<title>taken</title>" not in done.stdout
    assert 'data-script="ready"' in done.stdout


@pytest.mark.slow
def test_a_page_of_300_layers_opens_in_under_3_seconds(make_run, make_page, tmp_path):
    page = write_report(make_page(make_run(layers=300, steps=20, images=20)), tmp_path)
    script = "document.body.dataset.opened = performance.now();"
    opened_ms = min(float(after(page, script, tmp_path)["opened"]) for _ in range(3))
    assert opened_ms < 3000
