"""How a correction is tested: a faulty form, the right form, and one judge for both.

A test of the ledger returns a ``Pair`` and is registered under its entry's id::

    @correction("D6")
    def test_d6_a_step_lowers_the_loss():
        return Pair(faulty=[...], right=[...], is_right=lambda change: change < 0)

The decorated test passes only if the judge turns down every faulty form and accepts every right form: a judge that
accepts everything, or nothing, fails (test_corrections.py shows both).
"""

import functools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from aigc_course.runtime import course_root

PAIRS = {}  # id of an entry -> name of its test


@dataclass(frozen=True)
class Pair:
    """Functions without arguments that act out a form; ``is_right`` judges what they return.

    ``raises`` and ``message`` say in what exception a faulty form may end; any other exception is an error of the test.
    """

    faulty: list[Callable]
    right: list[Callable]
    is_right: Callable
    raises: type | tuple = ()
    message: str = ""


def accepted(form, pair) -> bool:
    """Whether the judge takes ``form`` for right. A listed exception counts as wrong."""
    try:
        value = form()
    except pair.raises as error:
        if not re.search(pair.message, str(error)):
            raise
        return False
    return bool(pair.is_right(value))


def verify(pair):
    """Fail unless the judge turns down every faulty form and accepts every right one."""
    assert pair.faulty and pair.right, "a correction needs at least one faulty and one right form"
    for number, form in enumerate(pair.faulty):
        assert not accepted(form, pair), f"the judge does not see the fault in faulty form {number}"
    for number, form in enumerate(pair.right):
        assert accepted(form, pair), f"the judge turns down right form {number}"


def correction(id):
    """Register a test that returns a ``Pair`` as the test of the entry ``id``, and verify the pair when it runs."""

    def register(function):
        assert id not in PAIRS, f"{id} has two tests"
        PAIRS[id] = function.__name__

        @functools.wraps(function)
        def test(*args, **kwargs):
            verify(function(*args, **kwargs))

        return test

    return register


def pictures_of(chapter):
    """A ``Pair``: a notebook that links its pictures from elsewhere, and the built notebook, which draws its own."""
    (built,) = (course_root() / "chapters").glob(f"{chapter}_*.ipynb")
    linked = {"cells": [{"cell_type": "markdown", "source": ["![picture](https://example.com/picture.png)"]}]}

    def own_pictures_only(notebook):
        text = json.dumps([cell["source"] for cell in notebook["cells"]])
        outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
        return not re.search(r"!\[[^\]]*\]\(http", text) and any("image/png" in o.get("data", {}) for o in outputs)

    return Pair(
        faulty=[lambda: linked, lambda: {"cells": []}],
        right=[lambda: json.loads(built.read_text(encoding="utf-8"))],
        is_right=own_pictures_only,
    )


def array(tensor):
    """A tensor of any backend as a NumPy array."""
    from keras import ops

    return ops.convert_to_numpy(tensor)


def numbers(*shape, seed=0):
    """Normal numbers, float32."""
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def sharpened(model, seed=1, scale=0.5):
    """The model or layer with larger random weights, so that its outputs depend on its inputs."""
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(0, scale, weights.shape) for weights in model.get_weights()])
    return model
