"""The page in a real browser, where there is one."""

import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from hqsim.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine to open the page with")

CLICKS = """
const heading = [...document.querySelectorAll("#layers th[title='sqnr_db']")][0];
heading.click();
const filter = document.getElementById("filter");
filter.value = "CONV attn";
filter.dispatchEvent(new Event("input"));
filter.value = "conv";
filter.dispatchEvent(new Event("input"));
const order = (table) => [...table.tBodies[0].rows].map((row) => row.dataset.row).join(" ");
const tables = [...document.querySelectorAll("#layers table.data")];
document.body.dataset.orders = [...new Set(tables.map(order))].join("|");
document.body.dataset.sort = heading.getAttribute("aria-sort");
document.body.dataset.shown = document.getElementById("count").textContent;
heading.click();
document.body.dataset.reversed = order(tables[0]);
heading.click();
document.body.dataset.restored = order(tables[0]);
"""


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


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (800, 600)])
def test_the_page_opens_without_a_console_message(make_run, tmp_path, width, height):
    page = write_report(make_run(), tmp_path)
    shot = tmp_path / "shot.png"
    dom = chromium(tmp_path, page, f"--window-size={width},{height}", f"--screenshot={shot}", "--dump-dom")
    assert re.search(r"<html[^>]* data-script=\"ready\"", dom)
    with Image.open(shot) as image:
        assert image.size == (width, height)
        assert len(np.unique(np.asarray(image.convert("L")))) > 50


def test_sorting_and_filtering_hold_in_every_view(make_run, tmp_path):
    run = make_run(layers=12)
    sqnr = np.array([50.0, np.inf, np.nan, 20.5, 9.0, 100.0, 30.0, 30.0, -1.0, 60.0, 70.0, 80.0])
    run.layers["sqnr_db"] = sqnr
    page = write_report(run, tmp_path)
    text = page.read_text(encoding="utf-8")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    page.write_text(text.replace("</body>", f"<script>{CLICKS}</script></body>"), encoding="utf-8")
    dom = chromium(tmp_path, page, "--dump-dom")
    found = dict(re.findall(r'data-(orders|sort|shown|reversed|restored)="([^"]*)"', dom))
    assert found["orders"] == "8 4 3 6 7 0 9 10 11 5 1 2"
    assert found["reversed"] == "1 5 11 10 9 0 6 7 3 4 8 2"
    assert found["restored"] == " ".join(str(index) for index in range(12))
    assert found["sort"] == "ascending"
    convolutions = sum("conv" in name for name in run.layers["layer"])
    assert found["shown"] == f"{convolutions} of 12 layers"


def test_a_script_that_is_not_ours_does_not_run(make_run, tmp_path):
    page = write_report(make_run(), tmp_path)
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
