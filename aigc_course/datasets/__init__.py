"""Data sets of the course: one loader each, without a network; files in ``data/`` are checked against a card."""

from aigc_course.datasets.chorales import load_chorales
from aigc_course.datasets.dates import load_dates
from aigc_course.datasets.digits import load_digits, load_fashion
from aigc_course.datasets.pairs import load_pairs
from aigc_course.datasets.poems import load_poems
from aigc_course.datasets.text import load_text

__all__ = ["load_chorales", "load_dates", "load_digits", "load_fashion", "load_pairs", "load_poems", "load_text"]
