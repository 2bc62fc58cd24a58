"""Which channels hold the outliers, which layers a transform makes worse: read off a run's tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

NOTICEABLE_DB = 0.1
KEY = ["layer", "operand"]


def worst_channels(
    arrays: Mapping[str, np.ndarray], *, transform: str = "none", axis: str = "channel", count: int = 20
) -> pd.DataFrame:
    """Return the ``count`` channels (or columns, ``axis`` ``width``) that stand out most, the worst first.

    Parameters
    ----------
    arrays
        A run's ``maxima/LAYER/OPERAND/TRANSFORM/AXIS``; weights are left out.
    transform, axis
        Which maxima.

    Returns
    -------
    DataFrame
        ``layer``, ``operand``, ``channel`` (its number), ``maximum``, and ``times_median``: the maximum over
        the median of the maxima of all channels of that operand.
    """
    import pandas as pd

    rows = []
    for name, maxima in arrays.items():
        kind, _, rest = name.partition("/")
        if kind != "maxima" or not rest.endswith(f"/{transform}/{axis}"):
            continue
        layer, operand = rest.removesuffix(f"/{transform}/{axis}").rsplit("/", 1)
        median = float(np.median(maxima))
        if operand == "weight" or not median:
            continue
        for channel in np.argsort(-maxima, kind="stable")[:count].tolist():
            largest = float(maxima[channel])
            rows.append((layer, int(operand), channel, largest, largest / median))
    frame = pd.DataFrame(rows, columns=[*KEY, "channel", "maximum", "times_median"])
    return (
        frame.sort_values("times_median", ascending=False, kind="stable").head(count).reset_index(drop=True)
    )


def worsened(activations: pd.DataFrame, *, bits: int = 4, by_db: float = NOTICEABLE_DB) -> pd.DataFrame:
    """Return the operands that are harder to quantize with a transform than without it, the worst first.

    Smooth rows along the width are such a case: their energy gathers in the first coefficient of each block.

    Parameters
    ----------
    activations
        A run's table of outliers.
    bits
        Codes whose SQNR is compared: 3, 4 or 8.
    by_db
        Loss from which on an operand is named.

    Returns
    -------
    DataFrame
        ``layer``, ``operand``, ``transform``; ``change_db``, the mean over the steps of the optimal-clip
        SQNR with the transform less that without; ``crest_before`` and ``crest_after``, means over the steps.
    """
    import pandas as pd

    measure = f"sqnr_{bits}bit_db"
    if activations.empty:
        return pd.DataFrame(columns=[*KEY, "transform", "change_db", "crest_before", "crest_after"])
    finite = activations[np.isfinite(activations[measure])]
    means = finite.groupby([*KEY, "transform"], sort=False)[[measure, "crest"]].mean().reset_index()
    before = means[means["transform"] == "none"].drop(columns="transform")
    joined = means[means["transform"] != "none"].merge(before, on=KEY, suffixes=("_after", "_before"))
    joined["change_db"] = joined[f"{measure}_after"] - joined[f"{measure}_before"]
    worse = joined[joined["change_db"] <= -by_db].sort_values("change_db", kind="stable")
    return worse[[*KEY, "transform", "change_db", "crest_before", "crest_after"]].reset_index(drop=True)
