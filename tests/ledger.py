"""How a correction is tested: a faulty form, the right form, and one judge for both.

A test of the ledger returns a ``Pair`` and is registered under its entry's id::

    @correction("D6")
    def test_d6_a_step_lowers_the_loss():
        return Pair(faulty=[...], right=[...], is_right=lambda change: change < 0)

The decorated test passes only if the judge turns down every faulty form and accepts every right form: a judge that
accepts everything, or nothing, fails (test_corrections.py shows both).
"""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass

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
