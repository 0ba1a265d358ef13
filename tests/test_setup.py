"""course.py on machines that lack something, and the files that set-up and README rest on. Nothing is installed."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.any_backend


@pytest.fixture
def course(tmp_path, monkeypatch):
    """course.py as a module, on a copy in an empty folder; ``commands`` collects what it would have run."""
    for name in ("course.py", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    spec = importlib.util.spec_from_file_location("course", tmp_path / "course.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.commands = []
    monkeypatch.setattr(module, "install", lambda command: pretend(module, command))
    monkeypatch.setattr(module, "hand_over", lambda arguments: module.commands.append(["handed over", *arguments]) or 0)
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=50e9))
    return module


def pretend(module, command):
    """Note the command, and make the environment's Python appear as ``venv`` would."""
    module.commands.append(command)
    module.PYTHON.parent.mkdir(parents=True, exist_ok=True)
    module.PYTHON.touch()


def refused(module, arguments, capsys):
    """The sentence that course.py ends with; exit code 2."""
    with pytest.raises(SystemExit) as end:
        module.main(arguments)
    printed = capsys.readouterr().err.strip()
    assert end.value.code == 2
    assert "\n" not in printed and printed.endswith((".", "…"))
    return printed


def test_first_call_sets_up_and_the_second_does_not(course):
    assert course.main(["lab", "--no-browser"]) == 0
    installing = course.commands[1]
    assert installing[-4:] == ["-c", "constraints.txt", "-e", ".[dev]"]
    assert course.commands[2] == ["handed over", "lab", "--no-browser"]
    course.main(["test"])
    assert course.commands[3:] == [["handed over", "test"]]


def test_uv_is_used_where_it_is(course, monkeypatch):
    monkeypatch.setattr(course.shutil, "which", lambda name: "/bin/uv" if name == "uv" else None)
    course.main(["setup"])
    assert [command[:2] for command in course.commands] == [["/bin/uv", "venv"], ["/bin/uv", "pip"]]


def test_interrupted_set_up_starts_again(course, monkeypatch, capsys):
    def interrupted(command):
        pretend(course, command)
        if "-e" in command:
            (course.VENV / "half.txt").touch()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(course, "install", interrupted)
        assert course.main(["lab"]) == 130
    assert "run the same command again" in capsys.readouterr().err
    assert course.main(["setup"]) == 0
    assert not (course.VENV / "half.txt").exists(), "the half-made environment must not be built upon"
    assert course.read_marker() == [course.fingerprint(), "dev"]


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_dependencies_are_installed_over_the_environment(course, name):
    course.main(["setup", "torch"])
    (course.VENV / "kept.txt").touch()
    with open(course.ROOT / name, "a", encoding="utf-8") as file:
        file.write("\n# changed\n")
    course.commands.clear()
    course.main(["lab"])
    assert course.commands[1][-1] == ".[dev,torch]", "an extra chosen once is kept"
    assert (course.VENV / "kept.txt").exists()


def test_environment_without_its_python_is_made_again(course):
    course.main(["setup"])
    course.PYTHON.unlink()
    course.commands.clear()
    course.main(["setup"])
    assert len(course.commands) == 2


def test_extra_is_added_and_unknown_extra_refused(course, capsys):
    course.main(["setup"])
    course.main(["setup", "gpu"])
    assert course.commands[-1][-1] == ".[dev,gpu]"
    assert "gpu, jax, torch" in refused(course, ["setup", "cuda"], capsys)


@pytest.mark.parametrize("version", [(3, 9, 1), (3, 10, 0), (3, 14, 0)])
def test_wrong_python(course, version, monkeypatch, capsys):
    monkeypatch.setattr(course.sys, "version_info", version)
    printed = refused(course, ["lab"], capsys)
    assert "3.11, 3.12 or 3.13" in printed and f"3.{version[1]}" in printed and "course.py lab`" in printed
    assert course.commands == []


def test_full_disk(course, monkeypatch, capsys):
    monkeypatch.setattr(course.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=1.2e9))
    assert "4.5 GB" in (printed := refused(course, ["lab"], capsys)) and "1.2 GB" in printed
    assert not course.VENV.exists()


def test_missing_venv_module(course, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    assert "apt install python3-venv" in refused(course, ["lab"], capsys)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("[Errno -3] Temporary failure in name resolution\nERROR: No matching distribution found", "internet"),
        ("error: Failed to fetch: tcp connect error", "internet"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: No matching distribution found for tensorflow>=2.21", "no build for this system"),
        ("a compiler fell over", "install.log"),
    ],
)
def test_failed_installation_names_the_remedy(tmp_path, said, told):
    """With the real ``install``: a command that prints what pip would, and fails."""
    for name in ("course.py", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / "installer.py").write_text(f"print({said!r})\nraise SystemExit(1)\n", encoding="utf-8")
    program = "import course, sys; course.install([sys.executable, 'installer.py'])"
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    assert told in ended.stderr and "Traceback" not in ended.stderr


def test_course_py_needs_only_the_standard_library_and_parses_on_old_pythons():
    source = (ROOT / "course.py").read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 7))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names


# Files that must agree


def pyproject():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_environment_yml_agrees_with_pyproject():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert f"- python {pyproject()['project']['requires-python']}\n" in text
    extras = re.search(r"- -e \.\[(.+)\]", text)[1].split(",")
    assert extras == ["dev"] and set(extras) <= set(pyproject()["project"]["optional-dependencies"])
    assert "- -c constraints.txt\n" in text
    listed = re.findall(r"^ +- ([a-z][\w.-]*)", text.split("dependencies:")[1], re.MULTILINE)
    assert set(listed) <= {"python", "pip"}, "all other packages come from pyproject.toml"


def test_course_py_agrees_with_pyproject():
    text = (ROOT / "course.py").read_text(encoding="utf-8")
    assert pyproject()["project"]["requires-python"] == ">=3.11,<3.14"
    assert "PYTHONS = ((3, 11), (3, 12), (3, 13))" in text
    extras = ast.literal_eval(re.search(r"^EXTRAS = (.+)$", text, re.MULTILINE)[1])
    assert set(extras) == set(pyproject()["project"]["optional-dependencies"]) - {"dev"}


def test_constraints_pin_every_dependency_and_hold_no_address():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert not re.search(r"://|--\w*index|--find-links|@ ", text)
    pinned = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, version = re.match(r"([a-z0-9._-]+)==(\S+)( ; .+)?$", line).groups()[:2]
            pinned[name] = version
    project = pyproject()["project"]
    needed = project["dependencies"] + [line for extra in project["optional-dependencies"].values() for line in extra]
    missing = {re.match(r"[\w.-]+", line)[0].lower() for line in needed} - set(pinned)
    assert not missing, f"renew constraints.txt: {missing}"


def test_ci_runs_the_command_of_the_readme():
    command = "python3 course.py test"
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").rstrip().endswith(f"\n{command}")
    assert os.name == "nt" or os.access(ROOT / ".ci" / "run", os.X_OK)
    assert "python course.py test" in (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")


# README


def tree():
    """The paths of the tree in README.md, in order."""
    block = (ROOT / "README.md").read_text(encoding="utf-8").split("<!-- tree -->")[1].split("```")[1]
    folder, paths = "", []
    for line in block.strip("\n").splitlines():
        name, words = re.match(r"( *\S+) {2,}(\S.+)$", line).groups()
        folder = folder if name.startswith(" ") else ""
        paths.append(folder + name.strip())
        if not name.startswith(" "):
            folder = name
        assert len(words) > 2
    return paths


def test_tree_in_the_readme_lists_what_is_there():
    missing = [path for path in tree() if not (ROOT / path).exists()]
    assert not missing, f"README.md lists what is not there: {missing}"


def test_tree_in_the_readme_leaves_nothing_out():
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("needs git to know which files belong to the course")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    tracked = [Path(name) for name in tracked if name]
    top = {path.parts[0] + ("/" if len(path.parts) > 1 else "") for path in tracked}
    package = {
        "/".join(path.parts[:2]) + ("/" if len(path.parts) > 2 else "")
        for path in tracked
        if path.parts[0] == "aigc_course"
    }
    expected = top | {name for name in package if name.endswith((".py", "/")) and "/__" not in name}
    assert not expected - set(tree()), "README.md's tree lacks these"


def test_table_of_chapters_is_up_to_date():
    from aigc_course import readme

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.with_table(text) == text, "run `aigc-course build --readme`"


def test_row_of_a_chapter(tmp_path):
    from aigc_course import readme

    source = tmp_path / "04_odd_topic.py"
    cell = "# # 04 · Odd topic\n#\n# One *line*,\n# and another.\n#\n# 7 minutes.\n"
    text = f"# ---\n# jupyter: x\n# ---\n\n# %% [markdown]\n{cell}\n# %%\n1\n"
    source.write_text(text, encoding="utf-8")
    expected = {
        "odd_topic/score": {"what": "score", "class": [0.5, 2.0], "quick": [0, 9]},
        "odd_topic/share": {"what": "share", "all": [0.25, float("inf")]},
        "other/score": {"what": "not this", "class": [0, 1]},
    }
    assert readme.row(source, {}, expected) == (
        "| [04 · Odd topic](chapters/04_odd_topic.ipynb) | One line, and another. | 7 "
        "| score: 0.5 to 2; share: at least 0.25 |"
    )
