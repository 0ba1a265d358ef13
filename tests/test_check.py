"""The reader's checks: they pass what is right, say what is wrong, and never pass in silence."""

import io

import numpy as np
import pytest

from aigc_course import check, runtime
from aigc_course.check import CheckError

NAN = float("nan")
BANDS = """
["gan_images/ratio"]
quick = [1.0, 9.0]
class = [1, 3.5]
what = "Course-FID as a multiple of its floor"
remedy = "Train for more epochs."
measured = "seeds 0, 1, 2"
["gan_images/modes"]
all = [9.5, 10]
["other/only_full"]
full = [0, 1]
["other/open_end"]
all = [0.5, inf]
"""


@pytest.fixture
def bands(tmp_path, monkeypatch):
    """The file of bands, as above; the profile is ``class``."""
    path = tmp_path / "expected.toml"
    path.write_text(BANDS, encoding="utf-8")
    monkeypatch.setattr(check, "_expected_path", lambda: path)
    monkeypatch.delenv("AIGC_PROFILE", raising=False)
    return path


@pytest.fixture(autouse=True)
def not_in_solutions(monkeypatch):
    monkeypatch.delenv("AIGC_SOLUTIONS", raising=False)


@pytest.mark.parametrize(
    ("mine", "reference"),
    [
        (1.0, 1.0 + 1e-6),
        ([1e6], [1e6 + 5]),
        ([[1, 2], [3, 4]], np.array([[1, 2], [3, 4]])),
        ([True, False], [True, False]),
        ([-np.inf, 0.0], [-np.inf, 0.0]),
        (np.float16(0.5), 0.5),
        (np.ones((0 + 1, 1, 1)), np.ones((1, 1, 1), np.float32)),
        (2**62, 2**62),
    ],
)
def test_close_passes(mine, reference, capsys):
    check.close(mine, reference, name="the loss")
    assert "the loss" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("mine", "reference", "words"),
    [
        ([1.0, 3.0], [1.0, 2.0], r"index \[1\]: got 3, expected 2 \(largest difference 1"),
        ([1.0, NAN], [1.0, 2.0], r"NaN \(1 of 2 values, first index \[1\]"),
        ([NAN], [NAN], "the reference"),
        ([1.0], [NAN], "the reference"),
        ([np.inf], [1.0], "differs"),
        ([np.inf], [-np.inf], "differs"),
        ([], [], "nothing to compare"),
        (np.ones((2, 3)), np.ones((3, 2)), "swapped"),
        (np.ones((2, 1)), np.ones(2), "transposed or squeezed"),
        (np.ones(1), np.ones(3), r"shape \(1,\), expected \(3,\)"),
        (None, 1.0, "return"),
        ("text", 1.0, "cannot be read as numbers"),
        ([[1], [1, 2]], 1.0, "cannot be read as numbers"),
        (2**62, 2**62 + 1, "differs"),
        (np.uint8([0]), np.uint8([255]), "got 0, expected 255"),
        ([True], [False], "differs"),
        (..., 1.0, "still"),
        ([1.0, ...], [1.0, 2.0], "still"),
    ],
)
def test_close_fails_with_words(mine, reference, words):
    with pytest.raises(CheckError, match=words):
        check.close(mine, reference)


def test_close_reads_tensors_of_the_backend():
    keras = pytest.importorskip("keras")
    check.close(keras.ops.ones((2, 3)), np.ones((2, 3)))
    check.close(keras.Variable(np.ones(2, "float32")), np.ones(2))
    check.close(keras.ops.cast(keras.ops.ones(2), "bfloat16"), [1, 1])
    with pytest.raises(CheckError, match="differs"):
        check.close(keras.ops.zeros((2, 3)), np.ones((2, 3)))


def test_tolerance_is_absolute_near_zero_and_relative_above():
    check.close(0.009, 0.0, tolerance=0.01)
    check.close(1009.0, 1000.0, tolerance=0.01)
    with pytest.raises(CheckError):
        check.close(0.02, 0.0, tolerance=0.01)


def test_shape():
    check.shape(np.ones((2, 5, 3)), (None, 5, 3))
    for value, expected, words in [
        (np.ones((2, 3)), (3, 2), "axis 0 and 1. Two axes may be swapped"),
        (np.ones((2, 3)), (2, None, 3), "2 axes"),
        (np.ones((2, 4)), (2, 3), "axis 1"),
        (..., (2,), "still"),
        (None, (2,), "return"),
    ]:
        with pytest.raises(CheckError, match=words):
            check.shape(value, expected)


def test_between_passes_inside_and_at_the_ends(bands, capsys):
    for value in (1, 2.0, np.float32(3.5), np.array([2.5])):
        check.between("gan_images/ratio", value)
    check.between("gan_images/modes", 9.7)
    check.between("other/open_end", 1e9)
    assert "Course-FID as a multiple of its floor: 2.5, expected 1 to 3.5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("gan_images/ratio", 3.6, r"above its band \(`gan_images/ratio`, profile class\). Train for more epochs"),
        ("gan_images/ratio", 0.9, "below its band"),
        ("gan_images/ratio", NAN, "NaN"),
        ("gan_images/ratio", np.inf, "above"),
        ("gan_images/ratio", [1.0, 2.0], "one number"),
        ("gan_images/ratio", [], "one number"),
        ("gan_images/ratio", True, "one number"),
        ("gan_images/ratio", None, "return"),
        ("gan_images/ratios", 2.0, "Is it `gan_images/ratio`"),
        ("nothing/like/it", 2.0, "No band"),
        ("other/only_full", 0.5, r"no band for the profile 'class'.*\(it has: full\)"),
    ],
)
def test_between_fails_with_words(bands, key, value, words):
    with pytest.raises(CheckError, match=words):
        check.between(key, value)


def test_between_takes_the_band_of_the_profile(bands, monkeypatch):
    monkeypatch.setenv("AIGC_PROFILE", "quick")
    check.between("gan_images/ratio", 8.0)
    check.between("gan_images/modes", 9.5)
    monkeypatch.setenv("AIGC_PROFILE", "full")
    check.between("other/only_full", 0.5)
    monkeypatch.setenv("AIGC_PROFILE", "fast")
    with pytest.raises(runtime.CourseError, match="quick, class, full"):
        check.between("gan_images/modes", 9.5)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[broken", "damaged"),
        (b"\xff\xfe", "damaged"),
        (b'["a/b"]\nall = [2, 1]', "not a band"),
        (b'["a/b"]\nall = [nan, 1]', "not a band"),
        (b'["a/b"]\nall = 3', "not a band"),
        (b'["a/b"]\nall = ["1", "2"]', "not a band"),
        (b'["a/b"]\nclas = [1, 2]', "unknown entry clas"),
        (b"a = 3", "unknown entry"),
    ],
)
def test_a_damaged_file_of_bands_fails(bands, content, words):
    bands.write_bytes(content)
    with pytest.raises(CheckError, match=words):
        check.between("a/b", 1.5)


def test_a_missing_file_of_bands_fails(bands):
    bands.unlink()
    with pytest.raises(CheckError, match="missing"):
        check.between("a/b", 1.5)


def test_bands_for_tables(bands):
    rows = check.bands("gan_images/")
    assert [(row.key, row.low, row.high) for row in rows] == [
        ("gan_images/ratio", 1, 3.5),
        ("gan_images/modes", 9.5, 10),
    ]
    assert rows[0].measured == "seeds 0, 1, 2"
    assert [row.key for row in check.bands("other/", profile="full")] == ["other/only_full", "other/open_end"]


def three(answer):
    assert answer == 3


def doubles(function):
    assert function(2) == 4, "function(2) should be 4"


def unwritten(x):
    return ...


def not_implemented(x):
    raise NotImplementedError


def test_exercise_passes(capsys):
    check.exercise("Three", 3, three)
    check.exercise("Double", lambda x: 2 * x, doubles)
    check.exercise("Verdict", 3, lambda answer: answer == 3)
    assert capsys.readouterr().out.count("✓") == 3


@pytest.mark.parametrize(
    ("answer", "test"),
    [
        (..., three),
        ((1, ...), three),
        ({"a": ...}, three),
        (unwritten, doubles),
        (not_implemented, doubles),
        (3, lambda answer: check.close(..., 1.0)),
    ],
)
def test_exercise_not_tried(answer, test, capsys, monkeypatch):
    check.exercise("Double", answer, test, hint="Multiply.")
    assert "not tried yet. Hint: Multiply." in capsys.readouterr().out
    monkeypatch.setenv("AIGC_SOLUTIONS", "1")
    with pytest.raises(CheckError, match="solution is missing"):
        check.exercise("Double", answer, test, hint="Multiply.")


@pytest.mark.parametrize(
    ("answer", "test", "words"),
    [
        (lambda x: x, doubles, "Double: function.2. should be 4.*Hint: Multiply."),
        (lambda x: x / 0, doubles, "ZeroDivisionError"),
        (lambda: 1, doubles, "TypeError"),
        (4, lambda answer: answer == 3, "not right yet"),
        (4, lambda answer: np.bool_(False), "not right yet"),
        (4, lambda answer: np.array([1, 1]), "must assert"),
        (4, lambda answer: "fine", "must assert"),
        (NAN, lambda answer: check.close(answer, 1.0), "NaN"),
    ],
)
def test_exercise_wrong(answer, test, words):
    with pytest.raises(CheckError, match=words):
        check.exercise("Double", answer, test, hint="Multiply.")


def test_a_terminal_without_the_tick(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)
    check.close(1.0, 1.0)
    stream.flush()
    assert stream.buffer.getvalue().startswith(b"ok your value")


def test_the_reader_sees_one_sentence():
    assert CheckError("off by one")._render_traceback_() == ["CheckError: off by one"]
