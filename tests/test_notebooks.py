"""The builder on small made-up chapters, each rule for notebooks, and the rules on the real chapters."""

import base64
import os
import signal
import subprocess
import sys
import time
import tomllib

import nbformat
import notebook_rules as rules
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from aigc_course import notebook_runs, notebooks, plots, runtime
from aigc_course.runtime import CourseError

pytestmark = pytest.mark.any_backend

CHAPTER = """\
# %% [markdown]
# # A small chapter
# See [the next](02_next.ipynb) and [a table](tables/one.csv).

# %% [markdown] tags=["zh"]
# # 一个小章节

# %% tags=["hide-input"]
import os, sys, pathlib
print("answers:", os.environ.get("AIGC_SOLUTIONS"))

# %% [markdown]
# ## Exercises
# Add one and one.

# %% tags=["exercise"]
total = ...

# %% tags=["solution"]
total = 1 + 1

# %% tags=["nbval-check-output"]
print(total)
"""


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course folder with one small chapter; ``course.write(text, name)`` writes another source."""
    (tmp_path / "chapters" / "src").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(runtime, "course_root", lambda: tmp_path)
    monkeypatch.setenv("AIGC_PROFILE", "quick")
    return tmp_path


def write(course, text, name="01_small"):
    path = course / "chapters" / "src" / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    return path


def sources(notebook):
    return [cell.source for cell in notebook.cells]


def built(course, text, **options):
    """The student notebook of a chapter made of ``text``, built."""
    write(course, text)
    return nbformat.read(notebooks.build(1, ("student",), **options)[0], as_version=4)


# From a source to a notebook


def test_each_edition_gets_its_cells(course):
    source = write(course, CHAPTER)
    student, solutions, chinese = (notebooks.make(source, edition) for edition in ("student", "solutions", "zh"))
    assert "total = ..." in sources(student) and "total = 1 + 1" not in sources(student)
    assert "total = 1 + 1" in sources(solutions) and "total = ..." not in sources(solutions)
    assert sources(chinese)[0] == "# 一个小章节" and sources(student)[0].startswith("# A small chapter")
    assert len(student.cells) == len(solutions.cells) == len(chinese.cells) == 5
    assert notebooks.editions_of(source) == ("student", "solutions", "zh")


def test_links_and_signposts_lead_from_where_the_edition_lies(course):
    source = write(course, CHAPTER)
    student, solutions, chinese = (notebooks.make(source, edition) for edition in ("student", "solutions", "zh"))
    assert "(tables/one.csv)" in sources(student)[0] and "(02_next.ipynb)" in sources(student)[0]
    assert "(../tables/one.csv)" in sources(solutions)[0] and "(02_next.ipynb)" in sources(solutions)[0]
    assert "(solutions/01_small.ipynb)" in sources(student)[2]
    assert "(../01_small.ipynb)" in sources(solutions)[2]
    assert "(../solutions/01_small.ipynb)" in sources(chinese)[2]


def test_without_a_heading_the_signpost_stands_before_the_first_exercise(course):
    text = CHAPTER.replace("## Exercises", "## Sums")
    assert "solutions/01_small.ipynb" in sources(notebooks.make(write(course, text)))[2]


def test_making_twice_gives_the_same_and_a_new_cell_changes_no_other_id(course):
    source = write(course, CHAPTER + "\n# %%\nprint(total)\n")
    first, again = notebooks.make(source), notebooks.make(source)
    assert first == again
    ids = [cell.id for cell in first.cells]
    assert len(set(ids)) == len(ids), "twin cells need different ids"
    source.write_text(
        source.read_text(encoding="utf-8").replace("# %% [markdown]\n# ## Ex", "# %%\n7\n\n# %% [markdown]\n# ## Ex")
    )
    assert set(ids) < {cell.id for cell in notebooks.make(source).cells}


def test_a_chapter_without_exercises_has_no_signpost(course):
    source = write(course, "# %% [markdown]\n# # Title\n\n# %%\n1\n")
    assert "solutions" not in nbformat.writes(notebooks.make(source))
    assert notebooks.editions_of(source) == ("student", "solutions")


def test_presentation_tags_reach_jupyterlab(course):
    cell = notebooks.make(write(course, CHAPTER)).cells[1]
    assert cell.metadata.tags == ["hide-input"] and cell.metadata.jupyter == {"source_hidden": True}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        (" \n\n", "is empty"),
        ('# %% [markdown]\n# # T\n\n# %% tags=["exersise"]\nx = 1\n', "line 5: unknown tag exersise"),
        (
            '# %% [markdown]\n# # T\n\n# %% tags="exercise"\nx = 1\n',
            "faulty cell options, 'exercise' is not of type 'array'",
        ),
        ('# %% tags=["exercise", "solution"]\nx = 1\n', "both exercise and solution"),
        ('# %% [markdown] tags=["zh"]\n# # 章\n', "zh cell must"),
        ('# %%\n1\n\n# %% [markdown] tags=["zh"]\n# # 章\n', "zh cell must"),
        ('# %% [markdown]\n# # T\n\n# %% tags=["zh"]\n1\n', "zh cell must"),
    ],
)
def test_a_faulty_source_is_refused_with_the_place(course, text, says):
    with pytest.raises(CourseError, match=says) as caught:
        notebooks.make(write(course, text))
    assert "chapters/src/01_small.py" in str(caught.value)


def test_finding_a_chapter(course):
    write(course, CHAPTER)
    assert notebooks.find(1) == notebooks.find("01") == notebooks.find("01_small")
    with pytest.raises(CourseError, match="no chapter '7'; the chapters are: 01_small"):
        notebooks.find(7)
    write(course, CHAPTER, "01_other")
    with pytest.raises(CourseError, match="used twice"):
        notebooks.find(1)
    with pytest.raises(CourseError, match="no edition 'french'"):
        notebooks.make(notebooks.find("01_small"), "french")


# Building


@pytest.mark.slow
def test_build_writes_executed_and_stamped_notebooks(course):
    source = write(course, CHAPTER)
    steps = []
    paths = notebooks.build(1, progress=lambda *step: steps.append(step))
    assert [path.relative_to(course).as_posix() for path in paths] == [
        "chapters/01_small.ipynb",
        "chapters/solutions/01_small.ipynb",
        "chapters/zh/01_small.ipynb",
    ]
    student, solutions, chinese = (nbformat.read(path, as_version=4) for path in paths)
    assert student.cells[1].outputs[0].text == "answers: None\n"
    assert solutions.cells[1].outputs[0].text == "answers: 1\n"
    assert chinese.cells[4].outputs == student.cells[4].outputs and chinese.cells[4].execution_count == 3
    assert student.metadata.aigc.source_sha256 == notebooks.source_sha256(source)
    assert student.metadata.aigc.profile == "quick" and not any(map(rules.executed, (student, solutions, chinese)))
    assert steps[:3] == [("chapters/01_small.ipynb", done, 3) for done in (1, 2, 3)] and len(steps) == 6
    assert notebooks.stale() == []
    before = paths[0].read_bytes()
    notebooks.build(1, ("student",))
    assert paths[0].read_bytes() == before, "building again changes not one byte"
    assert_stale_when_something_changes(source, paths[0])


def assert_stale_when_something_changes(source, path):
    """Each way to be out of date is seen; the caller has just built everything."""
    text, data = source.read_text(encoding="utf-8"), path.read_bytes()
    source.write_bytes(text.replace("\n", "\r\n").encode("utf-8"))
    assert notebooks.stale() == [], "line endings are no change"
    source.write_text(text.replace("one and one", "1 and 1"), encoding="utf-8")
    assert [found.reason for found in notebooks.stale()] == ["the source has changed"] * 3
    source.write_text(text, encoding="utf-8")
    path.write_bytes(data.replace(b"print(total)", b"print(total + 1)"))
    assert "by hand" in str(notebooks.stale()[0]) and str(notebooks.stale()[0]).startswith("chapters/01_small.ipynb:")
    path.write_bytes(data.replace(b'"builder": ', b'"builder": 9'))
    assert notebooks.stale()[0].reason == "the builder has changed"
    path.write_bytes(data[:200])
    assert notebooks.stale()[0].reason == "cannot be read"
    path.unlink()
    assert notebooks.stale()[0].reason == "not built yet"
    source.unlink()
    assert {found.reason for found in notebooks.stale()} == {"its source is gone"}


def test_a_draft_stays_stale(course):
    write(course, CHAPTER)
    notebooks.build(execute=False)
    assert {found.reason for found in notebooks.stale()} == {"a draft that was not executed"}
    with pytest.raises(CourseError, match="needed first"):
        notebooks.build(1, ("zh",))


@pytest.mark.slow
def test_a_failing_cell_is_named_and_changes_nothing(course):
    good = built(course, CHAPTER)
    path = course / "chapters" / "01_small.ipynb"
    write(course, CHAPTER.replace("print(total)", "raise ValueError('no total')"))
    with pytest.raises(CourseError) as caught:
        notebooks.build(1, ("student",))
    message = str(caught.value)
    assert "chapters/01_small.ipynb fails in cell 5 (chapters/src/01_small.py line 23): ValueError: no total" in message
    assert nbformat.read(path, as_version=4) == good
    left = nbformat.read(course / "runs" / "01_small.ipynb", as_version=4)
    assert left.cells[-1].outputs[0].ename == "ValueError" and "runs/01_small.ipynb" in message


@pytest.mark.slow
def test_run_leaves_a_copy_and_not_the_chapter(course):
    write(course, CHAPTER)
    path = notebooks.run("01")
    assert path == course / "runs" / "01_small.ipynb" and rules.executed(nbformat.read(path, as_version=4)) == []
    assert not (course / "chapters" / "01_small.ipynb").exists()


@pytest.mark.slow
def test_a_slow_cell_and_a_dead_kernel_end_with_a_sentence(course, monkeypatch):
    monkeypatch.setitem(notebook_runs.CELL_SECONDS, "quick", 2)
    write(course, "# %%\nimport time; time.sleep(60)\n")
    with pytest.raises(CourseError, match=r"cell 1 .*took longer than allowed"):
        notebooks.run(1)
    write(course, "# %%\nimport os; os._exit(1)\n")
    with pytest.raises(CourseError, match="the kernel died"):
        notebooks.run(1)


@pytest.mark.slow
def test_outputs_are_cleaned(course):
    text = """\
# %%
import os, pathlib, sys
print(pathlib.Path.cwd(), sys.executable, pathlib.Path.home() / "file")
written = os.write(2, b"2026-11-22 10:50:00.123456: I tensorflow/core/util.cc:12] chatter\\n")

# %%
from aigc_course import widgets
widgets.explore(lambda x: [[x / 2]], alt="One grey pixel", x=widgets.slider(0, 2, 1, 1, "grey"))
"""
    notebook = built(course, text)
    assert [output.name for output in notebook.cells[0].outputs] == ["stdout"]
    assert notebook.cells[0].outputs[0].text.startswith("./chapters ./.venv/bin/python") or os.name == "nt"
    assert notebook_runs.WIDGET not in notebook.cells[1].outputs[0].data and "widgets" not in notebook.metadata
    assert rules.described(notebook) == rules.pictures(notebook) == rules.no_machine_trace(notebook) == []


@pytest.mark.slow
def test_a_warning_fails_the_build(course):
    write(course, "# %%\nimport warnings; warnings.warn('careful')\n")
    with pytest.raises(CourseError, match=r"cannot be published: cell 1: it wrote to stderr.*careful"):
        notebooks.build(1, ("student",))
    assert not (course / "chapters" / "01_small.ipynb").exists()


def test_a_heavy_notebook_is_refused(course):
    heavy = ran(new_code_cell("1"), new_code_cell("2", outputs=[printed("x" * 2_000_000)]))
    with pytest.raises(CourseError, match="more than 2,000,000; the outputs of cell 3 take"):
        notebooks.demand_publishable(heavy, course / "heavy.ipynb")


# Interruptions


def test_an_interrupted_write_leaves_the_old_notebook(course, monkeypatch):
    path = course / "chapters" / "01_small.ipynb"
    path.write_text("old")

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            notebooks.write(new_notebook(), path)
    assert path.read_text() == "old" and [p.name for p in path.parent.iterdir() if p.is_file()] == ["01_small.ipynb"]


def test_a_full_disk_ends_with_a_sentence(course, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(CourseError, match=r"could not be written .No space left on device.; nothing was changed"):
        notebooks.write(new_notebook(), course / "chapters" / "01_small.ipynb")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_a_killed_build_leaves_no_notebook_and_no_kernel(course, name):
    write(course, "# %%\nimport os, pathlib, time\npathlib.Path('pid').write_text(str(os.getpid()))\ntime.sleep(60)\n")
    script = "import pathlib, sys; from aigc_course import notebooks, runtime; root = pathlib.Path(sys.argv[1])\n"
    script += "runtime.course_root = lambda: root; notebooks.build(1)"
    process = subprocess.Popen([sys.executable, "-c", script, str(course)], stderr=subprocess.DEVNULL)
    pid = course / "chapters" / "pid"
    wait_until(pid.is_file, seconds=60)
    process.send_signal(getattr(signal, name))
    process.wait(timeout=30)
    kernel = int(pid.read_text())
    wait_until(lambda: not alive(kernel), seconds=30)
    assert list((course / "chapters").rglob("*.ipynb*")) == []


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def alive(pid):
    """Whether a process runs; one that ended and waits for its parent does not count."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = f"/proc/{pid}/stat"
    return not os.path.exists(status) or open(status).read().rsplit(")", 1)[1].split()[0] != "Z"


# Each rule fires


def ran(*cells, title=True):
    """A notebook of the given cells as if it had run from the top."""
    notebook = new_notebook(cells=[*([new_markdown_cell("# Title")] if title else []), *cells])
    for count, cell in enumerate([cell for cell in notebook.cells if cell.cell_type == "code"], start=1):
        cell.execution_count = count
    return notebook


def printed(text):
    return new_output("stream", name="stdout", text=text)


def html_output(text):
    return new_output("display_data", data={"text/html": text})


def shown(png=None, alt="A picture", **data):
    data = data | ({"image/png": base64.b64encode(png).decode()} if png else {})
    return new_output("display_data", data=data, metadata={"image/png": {"alt": alt}} if alt else {})


def tagged(*outputs):
    return new_code_cell("1", outputs=list(outputs), metadata={"tags": ["nbval-check-output"]})


SMALL = plots.png(np.zeros((4, 5)))
CODE = [new_code_cell(f"x = {n}") for n in range(4)]
FAULTY = [
    (rules.executed, new_notebook(cells=[new_code_cell("1")]), "execution counts"),
    (rules.executed, new_notebook(cells=[new_code_cell("1", execution_count=2)]), "execution counts"),
    (rules.publishable, ran(new_code_cell("1", outputs=[new_output("error", ename="E", evalue="x")])), "ended with E"),
    (
        rules.publishable,
        ran(new_code_cell("1", outputs=[printed("<object object at 0x7f00aa11bb22>")])),
        "memory address",
    ),
    (rules.publishable, ran(new_code_cell("1", outputs=[shown(**{notebook_runs.WIDGET: {}})])), "without a picture"),
    (rules.publishable, ran(new_code_cell("1", outputs=[new_output("stream", name="stderr", text="W")])), "stderr"),
    (rules.checks_can_fail, ran(tagged()), "never fails"),
    (rules.checks_can_fail, new_notebook(cells=[tagged(printed("1"))]), "never fails"),
    (rules.checks_can_fail, ran(tagged(shown(SMALL))), "never fails"),
    (rules.checks_can_fail, ran(tagged(printed("\n"))), "never fails"),
    (rules.no_silenced_check, ran(new_code_cell("# NBVAL_SKIP\n1 / 0")), "NBVAL_SKIP"),
    (rules.no_machine_trace, ran(new_code_cell("1", outputs=[printed("in /home/ann/x")])), "/home/ann"),
    (rules.no_machine_trace, ran(new_code_cell("1", outputs=[shown(**{"text/html": "C:\\Users"})])), "C:"),
    (rules.no_machine_trace, ran(new_code_cell("1", outputs=[printed("from https://pypi.org/simple")])), "pypi"),
    (rules.pictures, ran(new_code_cell("1", outputs=[shown(plots.png(np.zeros((4, 1700))))])), "1700 x 4"),
    (rules.pictures, ran(new_code_cell("1", outputs=[shown(**{"image/jpeg": ""})])), "image/jpeg"),
    (rules.parses, ran(new_code_cell("x = (")), "cell 2"),
    (rules.backend_neutral, ran(new_code_cell("import tensorflow as tf")), "tensorflow"),
    (rules.backend_neutral, ran(new_code_cell("from jax.numpy import exp")), "jax"),
    (rules.backend_neutral, ran(new_code_cell("y = torch.ones(3)")), "torch"),
    (rules.short_cells, ran(new_code_cell("x = 1\n" * 26)), "26 lines"),
    (rules.no_profile_branch, ran(new_code_cell("if runtime.profile() == 'quick': pass")), "branches"),
    (
        rules.functions_stand_alone,
        ran(new_code_cell("data = 1\ndef f():\n    return data")),
        "f reads the notebook's data",
    ),
    (
        rules.functions_stand_alone,
        ran(new_code_cell("rate = 1"), new_code_cell("class A:\n    def f(self):\n        rate")),
        "rate",
    ),
    (rules.defined_once, ran(new_code_cell("def f(): pass"), new_code_cell("def f(): pass")), "f is defined 2 times"),
    (rules.seeded, ran(new_code_cell("np.random.normal()")), "without a seed"),
    (
        rules.same_as_package,
        ran(new_code_cell("# same as: aigc_course/gan.py::to_images\ndef to_images(x):\n    return x")),
        "differs",
    ),
    (rules.same_as_package, ran(new_code_cell("# same as: aigc_course/none.py::f\ndef f(): pass")), "differs"),
    (rules.words_between, ran(*CODE), "4 code cells"),
    (rules.described, ran(new_code_cell("1", outputs=[shown(SMALL, alt=" ")])), "without alt"),
    (rules.described, ran(new_code_cell("1", outputs=[shown(SMALL, alt=None)])), "without alt"),
    (rules.described, ran(new_code_cell("1", outputs=[html_output('<div role="img"><i></i></div>')])), "without alt"),
    (
        rules.described,
        ran(new_code_cell("1", outputs=[html_output('<p><img src="data:,x" alt=""></p>')])),
        "without alt",
    ),
    (rules.self_contained, ran(new_code_cell("1", outputs=[html_output("<script>1</script>")])), "<script>"),
    (
        rules.self_contained,
        ran(new_code_cell("1", outputs=[html_output('<img alt="A" src="//x.org/a.png">')])),
        "<img>",
    ),
    (rules.self_contained, ran(new_code_cell("1", outputs=[html_output('<i style="color:var(--a)"></i>')])), "<i>"),
    (rules.self_contained, ran(new_code_cell("1", outputs=[html_output('<b onclick="f()">a</b>')])), "<b>"),
    (rules.headings, ran(new_markdown_cell("## A"), new_markdown_cell("## A")), "called 'A'"),
    (rules.headings, ran(new_markdown_cell("## 1. A"), new_markdown_cell("## 3. B")), "section 3 follows"),
    (rules.headings, ran(new_markdown_cell("# Again")), "2 titles"),
    (rules.headings, ran(new_code_cell("1"), title=False), "not the title"),
    (rules.no_stranded_code, ran(new_markdown_cell("as in\n\n    def f(x):\n        return x")), "def f"),
]


@pytest.mark.parametrize(("rule", "notebook", "says"), FAULTY, ids=[f"{r.__name__}-{s}" for r, _, s in FAULTY])
def test_each_rule_fires(rule, notebook, says):
    assert any(says in finding for finding in rule(notebook)), rule(notebook)
    assert rules.findings(notebook)


def test_every_rule_has_a_faulty_notebook():
    assert {rule for rule, *_ in FAULTY} == set(rules.RULES)


def test_no_rule_fires_on_a_good_notebook():
    good = ran(
        new_markdown_cell("## 1. One\n\nLook: `x`.\n\n```\ndef f(x):\n    # not a heading\n```"),
        new_code_cell("%matplotlib inline\nWIDTH = 3\ndata = [1]\n[d for d in data if d < WIDTH]"),
        new_code_cell(
            "def g(data):\n    return [WIDTH * d for d in data]\n\nprint(g(data))", outputs=[printed("./data [3]")]
        ),
        new_markdown_cell("## 2. Two"),
        tagged(printed("4")),
        new_code_cell(
            "plots.show(picture, alt='A')",
            outputs=[shown(SMALL, **{"text/html": "<img alt='A' src='data:base64,/tmp/aa'>"})],
        ),
        new_code_cell("m", outputs=[html_output(plots.Markup('<i style="color:red">月</i>', "A < B").html())]),
    )
    assert rules.findings(good) == []


def test_rules_about_sources():
    cells = [
        new_code_cell("", metadata={"tags": [tag] if tag else []}) for tag in ("exercise", "solution", "", "exercise")
    ]
    assert rules.unanswered(cells[:3]) == [] and rules.unanswered(cells) == ["an exercise has no solution after it"]
    assert rules.unanswered(cells[1:3]) == ["a solution has no exercise before it"]
    used = rules.promises("check.between('gan/fid', 1)\ncheck.between(f'gan/{name}_kid', 2)")
    assert rules.broken_promises(used, ["gan/fid", "gan/mlp_kid"]) == []
    assert rules.broken_promises(used, ["gan/fid"]) == ["gan/.+_kid has no band"]
    assert rules.broken_promises(used[:1], ["gan/fid", "vae/nll"]) == ["vae/nll is used by no chapter"]
    with pytest.raises(ValueError, match="where it is used"):
        rules.promises("check.between(key, 1)")
    assert rules.links("[a](b.csv#c) <img src='d.png'> [e](https://f.org) [g](#h)") == ["b.csv", "d.png"]


def test_words_are_counted_without_code_and_formulas():
    assert (
        rules.word_count(ran(new_markdown_cell("Two words: $x + y$\n\n```\nno words here\n```"))) == 3
    )  # and the title


# The real chapters

BUILT = [
    path
    for edition in notebooks.EDITIONS.values()
    for path in sorted((notebooks.chapters_folder() / edition.folder).glob("*.ipynb"))
]
SOURCES = notebooks.chapters()


def short(path):
    return path.relative_to(notebooks.chapters_folder()).as_posix()


def test_no_notebook_is_stale():
    assert [str(found) for found in notebooks.stale()] == []


@pytest.mark.parametrize("path", BUILT, ids=short)
def test_rules_hold(path):
    assert rules.findings(nbformat.read(path, as_version=4)) == []
    assert path.stat().st_size < notebooks.MAX_BYTES


@pytest.mark.parametrize("path", BUILT, ids=short)
def test_links_lead_somewhere(path):
    text = rules.prose(nbformat.read(path, as_version=4))
    assert [link for link in rules.links(text) if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_length(source):
    words = rules.word_count(notebooks.make(source))
    assert (0 if source.stem.startswith("00") else 800) <= words <= 3500


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_every_exercise_has_its_solution(source):
    import jupytext

    assert rules.unanswered(jupytext.read(source, fmt="py:percent").cells) == []


def test_promises_and_bands_agree():
    used = [key for source in SOURCES for key in rules.promises(source.read_text(encoding="utf-8"))]
    bands = notebooks.chapters_folder() / "expected.toml"
    keys = list(tomllib.loads(bands.read_text(encoding="utf-8"))) if bands.exists() else []
    assert rules.broken_promises(used, keys) == []
