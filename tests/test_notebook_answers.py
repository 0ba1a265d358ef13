"""Which cells of a solution the tests run, by hand and on the real chapters."""

import os
import subprocess
import sys

import nbformat
import pytest

from aigc_course import acceptance, notebooks
from aigc_course.notebook_answers import cells_needed, names_of

pytestmark = pytest.mark.any_backend

SOLUTIONS = sorted((notebooks.chapters_folder() / "solutions").glob("*.ipynb"))


@pytest.mark.parametrize(
    ("source", "bound", "read"),
    [
        ("a = b + 1", {"a"}, {"b"}),
        ("a = 1\nprint(a)", {"a"}, {"print"}),
        ("a += 1", {"a"}, {"a"}),
        ("import keras.ops as o, os.path", {"o", "os"}, set()),
        ("def f(x):\n    y = x\n    return y + z", {"f"}, {"z"}),
        ("def f():\n    return lambda: deep\ndeep = 1", {"f", "deep"}, set()),
        ("class C(Base):\n    size = n", {"C"}, {"Base", "n", "__name__"}),
        ("[k * c for k in rows]", set(), {"rows", "c"}),
        ("for k, v in rows:\n    print(f'{v + w}')", {"k", "v"}, {"rows", "print", "w"}),
        ("a.b = c\nd[0] = 1", set(), {"a", "c", "d"}),
    ],
)
def test_names_bound_and_read(source, bound, read):
    assert names_of(source) == (bound, read)


def test_an_answer_brings_what_it_uses_and_nothing_else():
    answer = nbformat.v4.new_code_cell(
        "def answer():\n    return helper(2)", id="answer", metadata={"tags": ["solution"]}
    )
    sources = {
        "setup": "import numpy as np",
        "old": "scale = 1",
        "new": "scale = 2",
        "helper": "def helper(x):\n    return scale * x",
        "training": "model = train()",
    }
    cells = [nbformat.v4.new_code_cell(source, id=name) for name, source in sources.items()]
    check = nbformat.v4.new_code_cell('check.exercise("1", answer, test)', id="check")
    text = nbformat.v4.new_markdown_cell("check.exercise(", id="text")
    notebook = nbformat.v4.new_notebook(cells=[*cells, text, answer, check])
    assert cells_needed(notebook) == {"setup", "new", "helper", "answer", "check"}
    assert cells_needed(nbformat.v4.new_notebook(cells=cells)) == set()


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_what_is_left_out_stands_in_the_students_notebook(path):
    solution = nbformat.read(path, as_version=4)
    student = nbformat.read(path.parent.parent / path.name, as_version=4)
    code = {cell.id: cell.source for cell in solution.cells if cell.cell_type == "code"}
    needed = cells_needed(solution)
    ran = [cell.source for cell in student.cells if cell.cell_type == "code"]
    assert all(source in ran for cell, source in code.items() if cell not in needed)
    assert sum("check.exercise(" in code[cell] for cell in needed) >= 3


def test_nbval_leaves_the_rest_out():
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *acceptance.NBVAL, str(SOLUTIONS[0])]
    environment = {**os.environ, "AIGC_ANSWERS_ONLY": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=300, check=False)
    needed = cells_needed(nbformat.read(SOLUTIONS[0], as_version=4))
    assert done.stdout.count("::Cell ") == len(needed) and "deselected" in done.stdout, done.stdout + done.stderr
