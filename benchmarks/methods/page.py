"""docs/METHODS.md from its template (``page.md.j2``, where the prose stands) and whatever units are done."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.methods import plan, tables
from benchmarks.methods.claims import Claim, against_efficientdm, convergence, order_five, own_aim
from benchmarks.methods.figures import save_figures
from benchmarks.methods.results import Results
from benchmarks.methods.units import STUDIES, TEMPORAL
from hqsim.analysis.claims import Published
from hqsim.analysis.features import DigitsExtractor

FIGURES = "images"
TABLE = "methods.csv"


def paper_claims(results: Results, published: Published) -> Iterator[Claim]:
    """Every line of the paper that can be asked here."""
    yield from against_efficientdm(results, published)
    yield from order_five(results, published)
    yield from convergence(results)


def write_page(results: Results, docs: Path) -> Path:
    """Write page, CSV and figures into ``docs``; return the page."""
    published = Published()
    figures = save_figures(results, docs / FIGURES)
    results.table().to_csv(docs / TABLE, index=False, lineterminator="\n", float_format="%.6g")
    claims, aims = list(paper_claims(results, published)), list(own_aim(results))
    settings = results.journal.settings
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    text = environment.get_template("page.md.j2").render(
        settings=settings,
        images=results.images,
        ablation_images=results.ablation_images,
        extractor=DigitsExtractor.name,
        versions=_versions(),
        figures={name: f"{FIGURES}/{file}" for name, file in figures.items()},
        csv=TABLE,
        overview=tables.overview_table(results),
        methods=tables.method_tables(results, published),
        starts=tables.start_table(results),
        exports=tables.export_table(results),
        claims=tables.claims_table(claims),
        tally=tables.tally(claims),
        aims=tables.claims_table(aims),
        ablation=tables.ablation_table(results),
        doubles=tables.single_double_table(results),
        double_rivals=tables.rivals_table(results, plan.double_channel_variants()),
        mixed_rivals=tables.rivals_table(results, plan.mixed_variants()),
        mixed_bits=results.bits(plan.mixed_variants()[0]),
        exponent_rivals=tables.rivals_table(results, plan.exponent_variants()),
        exponent_bits=results.bits(plan.exponent_variants()[0]),
        channel_bits=results.bits(plan.Variant("hqdm-channel", plan.ABLATION_WIDTH, True)),
        losses=tables.loss_table(results),
        longer=tables.longer_table(results),
        longer_updates=plan.LONGER * settings.updates,
        repeats=tables.repeat_table(results),
        tfmq=tables.tfmq_table(results),
        temporal=tables.temporal_table(results.study(TEMPORAL)),
        budgets=tables.budget_table(),
        studies={unit.name.partition("/")[2]: tables.study_table(results.study(unit)) for unit in STUDIES},
    )
    page = docs / "METHODS.md"
    page.write_text(text, encoding="utf-8")
    return page


def _versions() -> str:
    names = ("torch", "numba", "numpy")
    return ", ".join([f"Python {platform.python_version()}", *(f"{n} {metadata.version(n)}" for n in names)])
