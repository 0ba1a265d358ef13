"""Checks that a reader meets in a chapter: exercises, shapes, and the bands that every promised number must fall in.

A check prints one line when it passes and raises ``CheckError`` with a sentence for the reader when it does not. NaN
fails every check, and a check with nothing to compare is a failure too.   Taught in chapters/00_start_here.
"""

import difflib
import functools
import math
import os
import sys
import tomllib
import types
from dataclasses import dataclass

import numpy as np

from aigc_course import runtime

_BAND_KEYS = {"headline", *runtime.PROFILES, "all", "what", "remedy", "measured"}


class CheckError(AssertionError):
    """A check that did not pass; the message says what came, what was expected and where."""

    def _render_traceback_(self):
        """What IPython shows: the sentence, without the frames of this module."""
        return [f"{type(self).__name__}: {self}"]


class NotTried(CheckError):
    """The value is still the ``...`` of the exercise."""


@dataclass(frozen=True)
class Band:
    """One promise of ``chapters/expected.toml``: the value named ``key`` lies between ``low`` and ``high``."""

    key: str
    low: float
    high: float
    profile: str
    what: str
    remedy: str
    measured: str


def close(mine, reference, tolerance=1e-5, name=None):
    """Check that two values agree: ``|mine - reference| <= tolerance * (1 + |reference|)`` everywhere.

    Args:
        mine, reference: number, list, NumPy array or tensor of any backend, of the same shape.
        tolerance: absolute near 0 and relative for large values; whole numbers and truth values must be equal.
        name: what to call the value in the line that is printed.
    """
    label = name or "your value"
    mine, reference = _array(mine, label), _array(reference, "the reference")
    if mine.shape != reference.shape:
        raise CheckError(f"{label} has shape {mine.shape}, expected {reference.shape}.{_swapped(mine, reference)}")
    if mine.size == 0:
        raise CheckError(f"{label} is empty (shape {mine.shape}), so there is nothing to compare.")
    _demand_finite(mine, reference, label)
    if mine.dtype.kind in "biu" and reference.dtype.kind in "biu":
        _demand_equal(mine, reference, label)
        return
    difference = _difference(mine, reference)
    allowed = tolerance * (1 + np.where(np.isfinite(reference), np.abs(reference), 0))
    if np.any(difference > allowed):
        at = _position(np.argmax(difference - allowed), mine.shape)
        wrong = int(np.sum(difference > allowed))
        raise CheckError(
            f"{label} differs from the reference{_where(at)}: got {mine[at]:.6g}, expected {reference[at]:.6g} "
            f"(largest difference {difference.max():.3g}, allowed {allowed[at]:.3g}; "
            f"{wrong} of {mine.size} values are off)."
        )
    _say(f"{label}: agrees with the reference (largest difference {difference.max():.1g})")


def shape(value, expected, name=None):
    """Check the shape of ``value`` against the tuple ``expected``, in which None stands for any length."""
    label = name or "your value"
    if value is ...:
        raise NotTried(f"{label} is still `...`: write your answer there.")
    got = tuple(value.shape) if hasattr(value, "shape") else _array(value, label).shape
    got = tuple(None if n is None else int(n) for n in got)
    expected = tuple(expected)
    if len(got) != len(expected):
        raise CheckError(f"{label} has {len(got)} axes, shape {got}; expected {len(expected)} axes, {expected}.")
    wrong = [i for i, (a, b) in enumerate(zip(got, expected, strict=True)) if b is not None and a != b]
    if wrong:
        axes = " and ".join(str(i) for i in wrong)
        hint = " Two axes may be swapped." if sorted(map(str, got)) == sorted(map(str, expected)) else ""
        raise CheckError(f"{label} has shape {got}, expected {expected}: look at axis {axes}.{hint}")
    _say(f"{label}: shape {got}")


def between(key, value):
    """Check that ``value`` lies in the band that ``chapters/expected.toml`` promises for ``key``.

    Args:
        key: such as ``"gan_images/dcgan_fid_ratio"``. The active profile's band holds, else the one named ``all``.
        value: one number.

    Raises:
        CheckError: outside the band, NaN, not a number, or no usable band.
    """
    band = _band(key, _table(key), runtime.profile())
    number = _number(key, value)
    text = f"{band.what or key}: {number:.4g}, expected {band.low:g} to {band.high:g}"
    if not band.low <= number <= band.high:
        side = "below" if number < band.low else "above"
        remedy = f" {band.remedy}" if band.remedy else ""
        raise CheckError(f"{text}; it is {side} its band (`{key}`, profile {runtime.profile()}).{remedy}")
    _say(text)


def bands(prefix="", profile=None):
    """The promised bands whose key starts with ``prefix``, for the active or the named profile, in file order.

    Returns:
        list of ``Band``; a key that promises nothing for the profile is left out.
    """
    profile = profile or runtime.profile()
    tables = _expected()
    chosen = {k: t for k, t in tables.items() if k.startswith(prefix) and (profile in t or "all" in t)}
    return [_band(key, table, profile) for key, table in chosen.items()]


def exercise(name, answer, test, hint="Read the section above once more."):
    """Check an exercise, or show its hint when nobody has tried it yet.

    Args:
        name: the exercise's title.
        answer: what the reader wrote: a value, a function or a class. ``...``, a function that returns ``...`` and one
            that raises NotImplementedError count as not tried.
        test: called with ``answer``; it asserts, or returns True or False.
        hint: shown when the exercise is open or wrong.

    Raises:
        CheckError: the answer is wrong, or (with ``AIGC_SOLUTIONS=1``, in the solution notebooks) it is missing.
    """
    try:
        if _unwritten(answer):
            raise NotTried("still `...`")
        verdict = test(_watched(answer) if isinstance(answer, types.FunctionType | types.MethodType) else answer)
    except (NotTried, NotImplementedError) as error:
        if os.environ.get("AIGC_SOLUTIONS") == "1":
            raise CheckError(f"{name}: the solution is missing ({error or 'not implemented'}).") from error
        print(f"{_sign('○', 'o')} {name}: not tried yet. Hint: {hint}")
        return
    except Exception as error:
        raise CheckError(f"{name}: {_reason(error)} Hint: {hint}") from error
    if verdict is not None and not isinstance(verdict, bool | np.bool_):
        raise CheckError(
            f"{name}: the test returned {type(verdict).__name__}; it must assert, or return True or False."
        )
    if verdict is not None and not verdict:
        raise CheckError(f"{name}: not right yet. Hint: {hint}")
    _say(name)


def _unwritten(answer):
    """Whether an answer, or a part of it, is still ``...``."""
    if isinstance(answer, list | tuple):
        return any(_unwritten(part) for part in answer)
    if isinstance(answer, dict):
        return any(_unwritten(part) for part in answer.values())
    return answer is ...


def _watched(function):
    """``function``, but a call that returns ``...`` raises NotTried."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        result = function(*args, **kwargs)
        if _unwritten(result):
            raise NotTried(f"{function.__name__} returns `...`")
        return result

    return call


def _reason(error):
    """One sentence for what a test raised."""
    text = str(error).strip().splitlines()
    first = text[0].rstrip(".") if text else "not right yet"
    return f"{first}." if isinstance(error, AssertionError) else f"it stops with {type(error).__name__}: {first}."


def _array(value, label):
    """``value`` as a NumPy array of numbers, or a CheckError that says why that cannot be."""
    if _unwritten(value):
        raise NotTried(f"{label} is still `...`: write your answer there.")
    if value is None:
        raise CheckError(f"{label} is None: is a `return` missing?")
    try:
        array = np.asarray(_off_device(value))
        if array.dtype.kind not in "biufc":
            array = array.astype(np.float64)  # lists of objects, and bfloat16
    except (TypeError, ValueError):
        raise CheckError(
            f"{label} cannot be read as numbers: it is {type(value).__name__} {str(value)[:60]!r}."
        ) from None
    if array.dtype.kind in "biu":
        return array
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _off_device(value):
    """A tensor of any backend as a NumPy array; everything else as it is. Keras is not imported for this."""
    keras = sys.modules.get("keras")
    if keras is not None and (isinstance(value, keras.Variable) or keras.ops.is_tensor(value)):
        return keras.ops.convert_to_numpy(value)
    return value.detach().cpu() if hasattr(value, "detach") else value


def _demand_finite(mine, reference, label):
    if np.isnan(reference).any():
        raise CheckError(f"the reference for {label} contains NaN, so nothing can be compared with it.")
    if np.isnan(mine).any():
        at = _position(np.argmax(np.isnan(mine)), mine.shape)
        raise CheckError(
            f"{label} contains NaN ({int(np.isnan(mine).sum())} of {mine.size} values{_where(at, ', first')})."
        )


def _demand_equal(mine, reference, label):
    wrong = mine != reference
    if wrong.any():
        at = _position(np.argmax(wrong), mine.shape)
        raise CheckError(
            f"{label} differs from the reference{_where(at)}: got {mine[at]}, expected {reference[at]} "
            f"({int(wrong.sum())} of {mine.size} values are off)."
        )
    _say(f"{label}: equal to the reference")


def _difference(mine, reference):
    """Distance of two arrays, 0 where both hold the same infinity."""
    with np.errstate(invalid="ignore"):
        return np.where(mine == reference, 0.0, np.abs(mine - reference))


def _position(index, dimensions):
    return tuple(int(i) for i in np.unravel_index(int(index), dimensions))


def _where(at, words=" at"):
    return f"{words} index {list(at)}" if at else ""


def _swapped(mine, reference):
    """A hint where the same lengths stand in another order."""
    if mine.ndim == reference.ndim and sorted(mine.shape) == sorted(reference.shape):
        return " Two axes may be swapped."
    return " It is transposed or squeezed?" if mine.size == reference.size else ""


def _number(key, value):
    """``value`` as a float that is not NaN."""
    array = _array(value, f"the value for `{key}`")
    if array.size != 1 or array.dtype.kind in "bc":
        raise CheckError(f"`{key}` needs one number, but got {array.dtype} of shape {array.shape}.")
    number = float(array.reshape(()))
    if math.isnan(number):
        raise CheckError(f"`{key}` is NaN: the computation broke down before this line.")
    return number


def _expected_path():
    return runtime.course_root() / "chapters" / "expected.toml"


def _expected():
    """All tables of ``expected.toml``, checked for form."""
    path = _expected_path()
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckError(f"chapters/{path.name} is missing; restore it from the repository.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CheckError(f"chapters/{path.name} is damaged ({error}); restore it from the repository.") from None
    for key, table in tables.items():
        unknown = set(table) - _BAND_KEYS if isinstance(table, dict) else {"a value outside a table"}
        if unknown:
            raise CheckError(f"chapters/{path.name}, `{key}`: unknown entry {', '.join(sorted(unknown))}.")
    return tables


def _table(key):
    tables = _expected()
    if key not in tables:
        near = difflib.get_close_matches(key, tables, n=1)
        raise CheckError(f"No band for `{key}` in chapters/expected.toml." + (f" Is it `{near[0]}`?" if near else ""))
    return tables[key]


def _band(key, table, profile):
    """The band of ``table`` for ``profile``, or for every profile."""
    limits = table.get(profile, table.get("all"))
    if limits is None:
        known = ", ".join(name for name in table if name in runtime.PROFILES) or "none"
        raise CheckError(
            f"`{key}` has no band for the profile {profile!r} in chapters/expected.toml (it has: {known})."
        )
    right = isinstance(limits, list) and len(limits) == 2
    right = right and all(isinstance(x, int | float) and not isinstance(x, bool) for x in limits)
    if not right or not limits[0] <= limits[1]:
        raise CheckError(f"`{key}`: {limits!r} is not a band [low, high] in chapters/expected.toml.")
    texts = (str(table.get(word, "")) for word in ("what", "remedy", "measured"))
    return Band(key, float(limits[0]), float(limits[1]), profile, *texts)


def _sign(sign, plain):
    """``sign`` where the terminal can print it."""
    try:
        sign.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return plain
    return sign


def _say(text):
    print(f"{_sign('✓', 'ok')} {text}")
