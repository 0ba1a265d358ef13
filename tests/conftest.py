"""Settings for all tests: what runs on TensorFlow only, and in what order.

Tests marked ``slow`` (they train a model, open a browser or compile much) and ``any_backend`` (they compute without
Keras, so that another backend would prove nothing new) run on TensorFlow only.
"""

import os

import pytest

BACKEND = os.environ.get("KERAS_BACKEND") or "tensorflow"
ONCE = ("slow", "any_backend")


def pytest_report_header():
    """Say which backend the tests run on."""
    return f"Keras backend: {BACKEND}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Leave out what runs once; put the files with slow tests first, so that no worker waits for them at the end."""
    if BACKEND == "tensorflow":
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)
        return
    once = {item for item in items if any(map(item.get_closest_marker, ONCE))}
    if once:
        config.hook.pytest_deselected(items=list(once))
        items[:] = [item for item in items if item not in once]


@pytest.fixture(params=["bfloat16", "float16"])
def half_precision(request):
    """Models built in the test compute in half precision; the value is the name of the type."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(f"mixed_{request.param}")
    yield request.param
    keras.config.set_dtype_policy(before)
