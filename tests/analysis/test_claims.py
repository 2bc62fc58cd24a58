"""The paper's claims: what its figures say, and verdicts on planted figures."""

import numpy as np
import pandas as pd

from hqsim.analysis.bootstrap import Measured
from hqsim.analysis.claims import (
    Published,
    amplified,
    comparison,
    convergence,
    direction,
    method_claims,
    order_claims,
    verdict_of,
)

DRAWS = np.random.default_rng(0).normal(0.0, 1.0, 200)


def test_a_difference_is_decided_by_its_paired_draws():
    better, worse = Measured(8.0, 8 + DRAWS), Measured(7.5, 7.5 + DRAWS)
    unpaired = Measured(7.5, 7.5 + np.random.default_rng(1).normal(0, 1, 200))
    assert comparison(better, worse, "sqnr_db") == ("better", "+0.50 (+0.50 to +0.50)")
    assert comparison(better, worse, "frechet")[0] == "worse"
    assert comparison(better, unpaired, "sqnr_db")[0] == "undecided"
    assert direction(11.01, 11.02, "frechet") == "equal"
    assert (direction(6.0, 7.0, "frechet"), direction(6.0, 7.0, "score")) == ("better", "worse")


def test_verdicts():
    assert verdict_of("equal", "undecided") == "holds"
    assert verdict_of("equal", "worse") == "does not hold"
    assert verdict_of("better", "worse") == "does not hold"
    assert verdict_of("worse", "worse") == "holds"
    assert verdict_of("better", "undecided") == "undecided"


def test_claims_have_the_direction_that_the_paper_prints():
    """Table 1 at 8/4: FID 7.68 against 6.75 is the worse, IS 292.76 against 252.00 the better."""
    claims = {claim.claim: claim for claim in method_claims(Published())}
    assert "HQ-DM against EfficientDM, 8/4: FID worse" in claims
    assert claims["HQ-DM against EfficientDM, 8/4: IS better"].published == (
        "292.76 against 252 (ImageNet, Table 1)"
    )
    assert "HQ-DM against EfficientDM, 2/4: Recall worse" in claims  # 18.76 against 20.34, Table 2


def test_claims_about_the_order_name_the_published_fid():
    """Table 4: FID 6.70, 6.68, 6.58, 6.73 for k = 3, 4, 5, 6."""
    claims = order_claims(Published())
    assert [claim.theirs.order for claim in claims] == [3, 4, 6]
    assert claims[0].published == "FID 6.58 against 6.7 (ImageNet, Table 4)"


def _curve(losses):
    return pd.DataFrame({"update": np.arange(1, len(losses) + 1), "loss": losses})


def test_convergence_is_where_the_smoothed_loss_stays_below():
    """Running means over 2 of 100: ours is below 0.55 + 0.00227 from update 51 on (0.5455 + 0.00455)."""
    text, verdict = convergence(_curve(np.linspace(1.0, 0.1, 100)), _curve(np.linspace(1.0, 0.55, 100)))
    assert (text, verdict) == ("from update 51 of 100 on below EfficientDM's last loss", "holds")
    text, verdict = convergence(_curve(np.full(100, 2.0)), _curve(np.full(100, 1.0)))
    assert (text, verdict) == ("ends 2.00 times as high", "does not hold")


def test_amplified_counts_layers():
    before = pd.Series({"a": 4.0, "b": 5.0, "c": 6.0, "d": 9.0})
    after = pd.Series({"a": 5.0, "b": 7.0, "c": 3.0})
    text, amplifies = amplified({"none": before, "double": after})
    assert amplifies
    assert text == "crest rises in 2 of 3 layers; median 5.00 (none), 5.00 after"
