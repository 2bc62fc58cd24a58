"""The methods' page from planted figures: what is missing is "not run", and verdicts follow the draws."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks.methods import plan, tables
from benchmarks.methods.claims import against_efficientdm, convergence, own_aim
from benchmarks.methods.journal import RECORD, Journal, Settings
from benchmarks.methods.page import write_page
from benchmarks.methods.plan import Variant
from benchmarks.methods.results import Results
from benchmarks.methods.units import CURVE, SHOWN_IMAGES, STUDIES, StudyUnit, all_units, judge_unit
from hqsim.analysis.claims import Published
from hqsim.analysis.quality import METRICS
from hqsim.errors import UnsupportedError
from hqsim.io import write_tensors
from hqsim.quantize import load_recipe

DRAWS = np.random.default_rng(0).normal(0.0, 1.0, 200)


@pytest.fixture
def results(tmp_path):
    journal = Journal.open(tmp_path / "work", Settings(updates=2000))
    return Results(journal, images=1000, ablation_images=200)


def _plant(results, variant, value, images=1000, noise=0.1):
    """Give a variant the same value of every metric, moving with the same draws as all others."""
    unit = judge_unit(results.journal, variant, images)
    folder = results.journal.path(unit)
    folder.mkdir(parents=True)
    names = [name for name in METRICS if variant or name not in ("sqnr_db", "psnr_db")]
    record = {"figures": {name: [value, value - 1, value + 1] for name in names}}
    (folder / "figures.json").write_text(json.dumps(record))
    rng = np.random.default_rng(int(10 * value))
    draws = {name: value + DRAWS + noise * rng.normal(size=200) for name in names}
    write_tensors(folder / "draws.safetensors", draws, {})
    images = np.zeros((SHOWN_IMAGES, 1, 32, 32), np.uint8)
    write_tensors(folder / "first.safetensors", {"codes": images}, {})
    (folder / RECORD).write_text(json.dumps({"key": unit.key}))


def test_a_page_of_nothing_says_not_run_everywhere(results, tmp_path):
    page = write_page(results, tmp_path).read_text()
    table = page[page.index("## The table") : page.index("## Claims")]
    overview = len(plan.WIDTHS) * len(plan.METHODS)
    measured = overview + len(plan.WIDTHS) * (len(plan.METHODS) * len(METRICS) + len(METRICS) - 2)
    assert table.count("not run") == measured
    assert "| hqdm | not run |" in table
    assert "Of 33 lines: not run: 33." in page
    assert (tmp_path / "methods.csv").read_text() == "variant,images,metric,value,low,high\n"


def test_published_figures_have_columns_of_their_own(results, tmp_path):
    _plant(results, Variant("hqdm", "w4a4", True), 7.0)
    page = write_page(results, tmp_path).read_text()
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| hqdm | 7.00 (")]
    assert len(rows) == 1
    assert "| hqdm | 7.00 | not run |" in page, "in the table of all widths"
    header = next(line.split(" | ") for line in page.splitlines() if line.startswith("| Method | SQNR"))
    cells = dict(zip(header, rows[0], strict=True))
    assert cells["published, ImageNet LDM-4: IS"] == "248.30"
    assert cells["published, ImageNet LDM-4: FID"] == "6.58"
    assert cells["Fréchet (digits classifier)"].startswith("7.00 (")
    assert "FID (digits" not in page


def test_claims_ask_the_direction_that_the_paper_prints(results):
    """At 8/4 the paper's FID of HQ-DM is the worse one (7.68 against 6.75), its IS the better (292.76)."""
    _plant(results, Variant("hqdm", "w8a4", True), 9.0)
    _plant(results, Variant("efficientdm", "w8a4", True), 6.0)
    claims = {claim.claim: claim for claim in against_efficientdm(results, Published())}
    assert claims["HQ-DM against EfficientDM, 8/4: FID worse"].verdict == "holds"
    assert claims["HQ-DM against EfficientDM, 8/4: IS better"].verdict == "holds"
    assert claims["HQ-DM against EfficientDM, 8/4: IS better"].published.startswith("292.76 against 252 (")
    assert claims["HQ-DM against EfficientDM, 4/4: IS better"].verdict == "not run"


def test_convergence_is_read_off_the_curves(results):
    for method, losses in (
        ("hqdm", np.linspace(1.0, 0.1, 100)),
        ("efficientdm", np.linspace(1.0, 0.55, 100)),
    ):
        unit = judge_unit(results.journal, Variant(method, "w4a4", True), results.images)
        folder = results.journal.path(unit)
        folder.mkdir(parents=True)
        rows = "".join(f"{update},{loss}\n" for update, loss in enumerate(losses, start=1))
        (folder / CURVE).write_text(f"update,loss\n{rows}")
        (folder / RECORD).write_text(json.dumps({"key": unit.key}))
    first, second = convergence(results)
    assert (first.verdict, second.verdict) == ("holds", "not run")
    assert first.measured.startswith("from update 51 of 100 on")


def test_the_own_aim_counts_bits_without_any_run(results):
    """Order 3 and order 4, at 4/4 and 4/3."""
    fits = [claim for claim in own_aim(results) if "fit 8-bit" in claim.claim]
    products = [claim.measured.partition(" in most products")[0] for claim in fits]
    assert products == ["7 bits", "6 bits", "8 bits", "7 bits"]
    assert {claim.verdict for claim in fits} == {"holds"}


def test_named_transforms_of_the_ablation_are_the_methods_themselves():
    variants = {transform: variant.name for transform, variant in plan.ablation_variants()}
    assert len(set(variants.values())) == 16
    assert variants[plan.Transform(5, "width", False)] == "hqdm-w4a4"
    assert variants[plan.Transform(3, "channel", True)] == "hqdm-channel-w4a4"
    changed = next(v for t, v in plan.ablation_variants() if t == plan.Transform(6, "channel", True))
    assert changed.recipe.hadamard.model_dump() == {
        "kind": "single", "axis": "channel", "order": 6, "signs": True,
        "partial": "largest_pow2", "realisation": "runtime",
    }  # fmt: skip


def test_every_name_is_a_folder_of_its_own(results):
    units = all_units(results.journal, images=1000, ablation_images=200)
    assert len({unit.name for unit in units}) == len(units)
    assert all(unit.name.count("/") <= 2 for unit in units)


def test_a_study_that_this_hqsim_lacks_is_unsupported(results, tmp_path):
    with pytest.raises(UnsupportedError, match=r"^study 'gone': this hqsim does not have it: "):
        StudyUnit("gone", "hqsim.analysis.quality", "no_such_table").run(results.journal, tmp_path)


def test_the_studies_exist():
    from importlib import import_module

    for unit in STUDIES:
        if isinstance(unit, StudyUnit):
            assert callable(getattr(import_module(unit.module), unit.function))


def test_repeated_trainings_differ_in_their_seed_alone():
    repeats = {repeats[0]: repeats for repeats in plan.repeated_variants()}
    under_the_published_loss = {
        *(v for v in plan.table_variants()[:10] if v.method in ("efficientdm", "hqdm-channel")),
        *plan.exponent_variants(),
        *plan.double_channel_variants(),
    }
    assert {first for first in repeats if first.loss == "noise"} == under_the_published_loss
    assert len(repeats) == 2 * len(under_the_published_loss)
    again = repeats[Variant("hqdm-channel", "w4a3", True)]
    assert [v.name.removeprefix("hqdm-channel-w4a3") for v in again] == ["", "-seed1"]
    assert len({v.key for v in again}) == 1


def test_repeated_trainings_stand_beside_the_rival_of_the_same_seed(results):
    values = {
        ("efficientdm", 0): 7.0,
        ("efficientdm", 1): 9.0,
        ("hqdm-channel", 0): 8.0,
        ("hqdm-channel", 1): 6.0,
    }
    for (method, seed), value in values.items():
        _plant(results, Variant(method, "w4a3", True, seed=seed), value)
    rows = tables.repeat_table(results).splitlines()
    ours, theirs = (
        next(row.strip("| ").split(" | ") for row in rows if row.startswith(f"| {method} | 4/3 | noise"))
        for method in ("hqdm-channel", "efficientdm")
    )
    assert [cell.partition(" ")[0] for cell in ours[3:]] == ["8.00", "6.00", "7.00", "+1.00", "-3.00"]
    assert theirs[-2:] == [tables.MISSING] * 2


def test_longer_trainings_differ_in_their_budget_alone(results):
    pairs = plan.longer_variants()
    assert {longer.budgets for _, longer in pairs} == {4}
    assert all(longer.recipe == short.recipe and longer.key != short.key for short, longer in pairs)
    short, longer = next(pair for pair in pairs if pair[0] == Variant("hqdm-channel", "w4a3", True))
    rival = next(other for _, other in pairs if other.name == "efficientdm-w4a3-budget4")
    for variant, value in ((short, 9.0), (longer, 12.0), (rival, 7.0)):
        _plant(results, variant, value)
    rows = tables.longer_table(results).splitlines()
    (row,) = (line for line in rows if line.startswith("| hqdm-channel | 4/3 | noise | 9.00"))
    cells = row.strip("| ").split(" | ")
    assert [cell.partition(" ")[0] for cell in cells[3:]] == ["9.00", "12.00"] * 2 + [
        "+3.00",
        "+5.00",
        "+5.00",
    ]
    assert "better" in cells[-2] and "worse" in cells[-1]
    assert len(rows) == 2 + len(pairs)


def test_the_double_transform_of_convolutions_is_the_recipe_of_that_name():
    variant, other = plan.double_channel_variants()
    named, ours = load_recipe("double-channel-w4a4"), variant.recipe
    assert named.model_dump(exclude={"name", "description"}) == ours.model_dump(
        exclude={"name", "description"}
    )
    assert other.recipe.activations.bits == 3


def test_temporal_errors_stand_side_by_side():
    rows = [
        (model, step, error, error + 1, error + 2)
        for step in (950, 0)
        for model, error in (("ptq", 4.0), ("tfmq", 2.5))
    ]
    frame = pd.DataFrame(rows, columns=["model", "timestep", "squared_error", "sqnr_db", "worst_sqnr_db"])
    header, _, first, last = tables.temporal_table(frame).splitlines()
    assert header.split(" | ")[:3] == ["| timestep", "squared error, ptq", "squared error, tfmq"]
    assert first == "| 950 | 4 | 2.5 | 5 | 3.5 | 6 | 4.5 |"
    assert last.startswith("| 0 | 4 |")


def test_a_key_does_not_know_defaults():
    """An option that recipes gain later, at its default, leaves the record valid."""
    variant = Variant("hqdm-channel", "w4a4", True)
    said = variant.recipe.model_copy(
        update={"activations": type(variant.recipe.activations)(bits=4, exponents=0)}
    )
    other = variant.recipe.model_copy(
        update={"activations": type(variant.recipe.activations)(bits=4, exponents=1)}
    )
    keys = []
    for recipe in (variant.recipe, said, other):
        changed = Variant("hqdm-channel", "w4a4", True)
        changed.__dict__["recipe"] = recipe
        keys.append(changed.key)
    assert keys[0] == keys[1] != keys[2]
