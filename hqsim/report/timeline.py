"""One denoising step as lanes: which layer runs, and how long it keeps each engine and memory busy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from hqsim.report.figures import Target, save_figure
from hqsim.report.scale import PARTS

LANE_HEIGHT = 0.72


@dataclass(frozen=True, kw_only=True)
class Span:
    """One layer: its start and length, and the time for which it keeps each engine busy, in seconds."""

    layer: str
    kind: str
    bound_by: str
    start_s: float
    length_s: float
    busy_s: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """One machine's step; ``engines`` name the entries of every span's ``busy_s``.

    Within a layer an engine's time is known, not its place; it is drawn from the layer's start.
    """

    machine: str
    engines: tuple[str, ...]
    spans: tuple[Span, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of layers, in order of first use."""
        return tuple(dict.fromkeys(span.kind for span in self.spans))


def save_timelines(timelines: Sequence[Timeline], target: Target) -> None:
    """Draw one panel per machine into ``target`` (``.png`` or ``.pdf``)."""
    figure = Figure(figsize=(9.6, 0.7 + 1.9 * len(timelines)), layout="constrained")
    kinds = list(dict.fromkeys(kind for timeline in timelines for kind in timeline.kinds))
    colours = {kind: PARTS[index % len(PARTS)] for index, kind in enumerate(kinds)}
    axes = figure.subplots(len(timelines), 1, squeeze=False)[:, 0]
    for timeline, axis in zip(timelines, axes, strict=True):
        lanes = ("layer", *timeline.engines)
        for lane in range(len(lanes)):
            bars = [
                (span.start_s, span.length_s if lane == 0 else span.busy_s[lane - 1], colours[span.kind])
                for span in timeline.spans
            ]
            patches = [Rectangle((start * 1e3, lane), width * 1e3, LANE_HEIGHT) for start, width, _ in bars]
            axis.add_collection(PatchCollection(patches, facecolors=[colour for *_, colour in bars]))
        end = max((span.start_s + span.length_s for span in timeline.spans), default=1e-3)
        axis.set(xlim=(0, end * 1e3), ylim=(len(lanes), -0.3))
        axis.set_yticks([lane + LANE_HEIGHT / 2 for lane in range(len(lanes))], lanes, fontsize=7)
        axis.set_title(timeline.machine, fontsize=9, loc="left", parse_math=False)
        axis.set_xlabel("time in the step [ms]", fontsize=8)
        axis.tick_params(labelsize=7, left=False)
        axis.spines[["top", "right", "left"]].set_visible(False)
    handles = [Patch(color=colour, label=kind) for kind, colour in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False, fontsize=7)
    save_figure(figure, target)
