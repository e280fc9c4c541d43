"""The report: a page in HTML with its figures and tables, and the recommendation beside it."""

from forecast.report.page import write_report

__all__ = ["write_report"]
