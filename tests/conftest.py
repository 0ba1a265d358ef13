"""Settings for all tests: what is marked slow (training, browser) runs on TensorFlow only."""

import os

import pytest

BACKEND = os.environ.get("KERAS_BACKEND") or "tensorflow"


def pytest_report_header():
    """Say which backend the tests run on."""
    return f"Keras backend: {BACKEND}"


def pytest_collection_modifyitems(items):
    """Skip slow tests on the other backends."""
    if BACKEND == "tensorflow":
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow tests run on TensorFlow only"))
