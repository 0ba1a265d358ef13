"""Texts: Python's own by chapter, cleaned and without repeats; a file of the reader's by position; what cannot be."""

import importlib
import re
import sys

import pytest

from aigc_course.datasets import load_text
from aigc_course.datasets import text as module
from aigc_course.runtime import CourseError

pytestmark = pytest.mark.any_backend

LINES = "".join(f"line {number:03}\n" for number in range(200))  # 200 lines of 9 characters


@pytest.fixture(scope="module")
def python():
    return load_text()


def paragraphs(text):
    return {" ".join(paragraph.split()) for paragraph in text.split("\n\n")}


# Python's text.


def test_sizes_of_the_parts(python):
    total = len(python.train) + len(python.validation) + len(python.test)
    assert total > 250_000
    for part in (python.validation, python.test):
        assert 0.045 * total < len(part) < 0.051 * total


def test_every_chapter_is_in_one_part(python):
    chapters = module._topics()
    assert len(chapters) > 50
    for name, chapter in chapters.items():
        assert [chapter in part for part in (python.train, python.validation, python.test)].count(True) == 1, name


def test_parts_share_no_long_paragraph(python):
    train, validation, test = map(paragraphs, (python.train, python.validation, python.test))
    for shared in (train & validation, train & test, validation & test):
        assert all(len(paragraph) < 120 for paragraph in shared)


def test_seed_decides_what_is_held_out(python):
    assert load_text() == python
    other = load_text(seed=1)
    assert other.test != python.test and abs(len(other.test) - len(python.test)) < 1000


def test_little_markup_is_left(python):
    whole = python.train + python.validation + python.test
    assert len(module.characters(whole)) < 105 and module.characters(whole)[0] == "\n"
    assert not set("“”‘’–—…\t\r") & set(whole)
    for line in whole.split("\n"):
        assert not re.fullmatch(r" *(?:\+[-=+]+\+|([*=~^-])\1{2,}|-\[.*\]-|.*[ \t])", line), line
    assert 'lambda_expr ::= "lambda"' in whole and "def <lambda>(parameters):" in whole
    assert "\n\n\n\n" not in whole


@pytest.mark.parametrize(
    "text, plain",
    [
        ("Lambdas\n*******\n\n   x ::= y\n", "Lambdas\n\n   x ::= y\n"),
        ("a *bound method* is **never** bound; see *m*'s name", "a bound method is never bound; see m's name\n"),
        ("the *rich\ncomparison* methods [*start*, *end*]", "the rich\ncomparison methods [start, end]\n"),
        ("f(*args, **kwargs) and 2 * 3 * 4, x**2**3", "f(*args, **kwargs) and 2 * 3 * 4, x**2**3\n"),
        ('the "*" and "**" signs, "*identifier" or "*x*"', 'the "*" and "**" signs, "*identifier" or "*x*"\n'),
        ("“so – it’s …”", '"so - it\'s ..."\n'),
        ("-[ Footnotes ]-", "Footnotes\n"),
        ('gives ""ss"" here', 'gives "ss" here\n'),
        ("above\n\n+---+---+\n| a | b |\n+===+===+\n\nbelow  \n", "above\n\nbelow\n"),
        ('op ::= "<" | ">"\n       | "is" ["not"]\n', 'op ::= "<" | ">"\n       | "is" ["not"]\n'),
        ("(Pdb)\n--> print()\n---> 5 |\n", "(Pdb)\n--> print()\n---> 5 |\n"),
        ("   >>> '***centered***'\n   1 + 2\n   -1\n", ">>> '***centered***'\n   1 + 2\n   -1\n"),
    ],
)
def test_cleaning(text, plain):
    assert module.clean(text) == plain


def test_chapters_inside_longer_ones_go():
    long, short, own = "A a a.\n\nB b b b.\n\nC c.", "B  b\nb b.\n\nx", "B b b b.\n\nA line of its own, and long."
    assert list(module.without_repeats({"short": short, "long": long, "own": own})) == ["long", "own"]
    assert list(module.without_repeats({"if": "same", "else": "same"})) == ["if"]


def test_python_without_its_documentation(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(CourseError, match="came without pydoc_data"):
        load_text()
    monkeypatch.undo()
    assert importlib.import_module("pydoc_data.topics").topics


# A file of one's own.


def test_file_is_cut_at_line_ends(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text(LINES, encoding="utf-8")
    text = load_text(path=path)
    assert text.train + text.validation + text.test == LINES
    assert [part.count("\n") for part in (text.train, text.validation, text.test)] == [181, 10, 9]
    assert repr(text) == "Text(1,629 + 90 + 81 characters)"
    assert load_text("no such name", str(path), seed=5) == text


def test_line_ends_and_byte_order_mark(tmp_path):
    path = tmp_path / "own.txt"
    path.write_bytes(b"\xef\xbb\xbf" + LINES.replace("\n", "\r\n").encode())
    assert load_text(path=path) == module.split_by_position(LINES)


def test_chinese_file(tmp_path):
    path = tmp_path / "诗.txt"
    path.write_text("白日依山尽，黄河入海流。\n" * 100, encoding="utf-8")
    assert module.characters(load_text(path=path).test) == "".join(sorted("白日依山尽，黄河入海流。\n"))


def test_characters():
    assert module.characters("hello") == "ehlo" and module.characters("") == ""


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "has 0 characters"),
        (LINES[:999].encode(), "has 999 characters; a language model needs at least 1,000"),
        (b"\xff\xfe" + LINES.encode("utf-16-le"), "is not UTF-8"),
        ("é".encode("latin-1") * 2000, "is not UTF-8"),
        (LINES.encode("utf-16-le"), "zero bytes"),
        (b"a" * 5000, "too few line ends"),
        ((LINES + "a" * 5000).encode(), "too few line ends"),
        (b"\n" * 5000, "too few line ends"),
    ],
)
def test_files_that_are_no_text(tmp_path, content, words):
    path = tmp_path / "own.txt"
    path.write_bytes(content)
    with pytest.raises(CourseError, match=words) as error:
        load_text(path=path)
    assert str(path) in str(error.value)


def test_missing_file_folder_and_unknown_name(tmp_path):
    with pytest.raises(CourseError, match=r"none\.txt is missing"):
        load_text(path=tmp_path / "none.txt")
    with pytest.raises(CourseError, match="cannot be read"):
        load_text(path=tmp_path)
    with pytest.raises(CourseError, match="no text 'shakespeare'; choose one of python, or give the path"):
        load_text("shakespeare")
