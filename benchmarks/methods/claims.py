"""The paper's claims and our own aims beside what the units measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from benchmarks.methods import plan
from benchmarks.methods.plan import Variant
from benchmarks.methods.results import Results
from hqsim.analysis import claims as paper
from hqsim.analysis.claims import (
    FAILS,
    HOLDS,
    PaperClaim,
    Published,
    Subject,
    comparison,
    method_claims,
    order_claims,
    verdict_of,
    width_text,
)
from hqsim.analysis.quality import METRICS

NOT_RUN = "not run"


@dataclass(frozen=True)
class Claim:
    """One line of the table."""

    claim: str
    published: str
    measured: str
    verdict: str


def pair(
    results: Results, ours: Variant, theirs: Variant, metric: str, images: int | None = None
) -> tuple[str, str]:
    """Compare two variants; both texts are "not run" where one is missing."""
    first, second = results.figures(ours, images), results.figures(theirs, images)
    if first is None or second is None:
        return NOT_RUN, NOT_RUN
    return comparison(first[metric], second[metric], metric)


def against_efficientdm(results: Results, published: Published) -> Iterator[Claim]:
    """HQ-DM beside EfficientDM, each width and metric that the paper prints for both."""
    return _judged(results, method_claims(published))


def order_five(results: Results, published: Published) -> Iterator[Claim]:
    """Of the orders 3 to 6 along width without signs, 5 is the best."""
    return _judged(results, order_claims(published), results.ablation_images)


def _judged(results: Results, claims: Iterable[PaperClaim], images: int | None = None) -> Iterator[Claim]:
    for claim in claims:
        found, text = pair(results, _variant(claim.ours), _variant(claim.theirs), claim.metric, images)
        measured = f"SQNR {text} dB" if claim.metric == "sqnr_db" and found != NOT_RUN else text
        verdict = NOT_RUN if found == NOT_RUN else verdict_of(claim.claimed, found)
        yield Claim(claim.claim, claim.published, measured, verdict)


def _variant(subject: Subject) -> Variant:
    """The trained variant that a claim is about."""
    if subject.order is None:
        return Variant(subject.method, subject.widths, True)
    transform = plan.Transform(subject.order, "width", False)
    return dict(plan.ablation_variants())[transform]


def convergence(results: Results) -> Iterator[Claim]:
    """HQ-DM's loss falls faster: updates until it stays below what EfficientDM ends with."""
    for width in plan.SHOWN_WIDTHS:
        ours, theirs = (results.curve(Variant(method, width, True)) for method in ("hqdm", "efficientdm"))
        measured, verdict = NOT_RUN, NOT_RUN
        if ours is not None and theirs is not None:
            measured, verdict = paper.convergence(ours, theirs)
        yield Claim(
            f"HQ-DM's training loss falls faster than EfficientDM's, {width_text(width)}",
            "the paper's convergence figure",
            measured,
            verdict,
        )


def own_aim(results: Results) -> Iterator[Claim]:
    """hqdm-channel: better than every other method, with an operand for 8-bit multipliers.

    Asked of the method itself, then of the highest order that fits.
    """
    for width in plan.SHOWN_WIDTHS:
        yield from _aim(results, "hqdm-channel", Variant("hqdm-channel", width, True))
    for variant in plan.higher_order_variants():
        yield from _aim(results, f"hqdm-channel of order {plan.HIGHEST_FITTING_ORDER}", variant)


def _aim(results: Results, name: str, ours: Variant) -> Iterator[Claim]:
    bits, width = results.bits(ours), width_text(ours.widths)
    yield Claim(
        f"operands of {name} fit 8-bit multipliers, {width}",
        "our aim",
        f"{bits.multiplier_bits} bits in most products, at most {bits.widest_bits} "
        f"({', '.join(bits.widest_layers[:3])}{' ...' if len(bits.widest_layers) > 3 else ''})",
        HOLDS if bits.widest_bits <= 8 else FAILS,
    )
    for theirs in plan.rivals(ours):
        for metric in ("sqnr_db", "frechet"):
            found, text = pair(results, ours, theirs, metric)
            yield Claim(
                f"{name} better than {theirs.method}, {width}: {short_name(metric)}",
                "our aim",
                text,
                NOT_RUN if found == NOT_RUN else verdict_of("better", found),
            )


def short_name(metric: str) -> str:
    """``SQNR``, ``Fréchet``: a metric's name before the brackets."""
    return METRICS[metric].title.partition(" against")[0].partition(" (")[0]
