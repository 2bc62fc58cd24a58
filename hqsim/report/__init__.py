"""One run or several as one offline HTML page, with tables as CSV and figures as PNG and PDF beside it."""

from __future__ import annotations

from hqsim.report.data import (
    Answer,
    ComparisonReport,
    Finding,
    ImageStrip,
    Page,
    RunReport,
    VerdictCard,
)
from hqsim.report.page import write_report

__all__ = [
    "Answer",
    "ComparisonReport",
    "Finding",
    "ImageStrip",
    "Page",
    "RunReport",
    "VerdictCard",
    "write_report",
]
