"""Data sets of the course: one loader each, from ``data/``, checked against a card, without a network."""

from aigc_course.datasets.digits import load_digits, load_fashion

__all__ = ["load_digits", "load_fashion"]
