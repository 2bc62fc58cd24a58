"""One run as one offline HTML page, with its tables as CSV and its figures as PNG beside it."""

from __future__ import annotations

from hqsim.report.data import ImageStrip, RunReport, VerdictCard
from hqsim.report.page import write_report

__all__ = ["ImageStrip", "RunReport", "VerdictCard", "write_report"]
