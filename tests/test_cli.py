"""The command line: how fast it answers, what it loads, and what it says when something is wrong."""

import io
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aigc_course import acceptance, cli, doctor, lab
from aigc_course.datasets.chorales import load_chorales
from aigc_course.runtime import CourseError

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("tensorflow", "keras", "jax", "torch", "numpy", "matplotlib", "IPython")
pytestmark = pytest.mark.any_backend


def command(*arguments, **variables):
    """Run ``python -m aigc_course`` with arguments, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "aigc_course", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONUTF8": "1", "COLUMNS": "100", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def seconds(program):
    """Processor seconds of a Python program, the fastest of three runs: a busy machine cannot make it fail."""
    timed = (
        "import time; start = time.process_time()\n"
        f"try:\n    {program}\nexcept SystemExit: pass\n"
        "print('seconds', time.process_time() - start)"
    )
    runs = (
        subprocess.run(
            [sys.executable, "-c", timed], check=True, capture_output=True, text=True, encoding="utf-8", cwd=ROOT
        )
        for _ in range(3)
    )
    return min(float(run.stdout.split()[-1]) for run in runs)


def test_import_is_fast():
    assert seconds("import aigc_course") <= 0.3


def test_help_is_fast():
    assert seconds("import sys; sys.argv[1:] = ['--help']; from aigc_course.cli import main; main()") <= 1.0


def test_help_loads_nothing_heavy():
    program = (
        "import sys; from aigc_course import cli; sys.argv[1:] = ['--help']\n"
        "try: cli.main()\nexcept SystemExit: pass\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "print('loaded', loaded, file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "loaded []" in ended.stderr


def test_help_names_every_command():
    ended = command("--help")
    assert ended.returncode == 0
    for name in ("lab", "run", "build", "train", "sample", "translate", "write", "compose", "test", "doctor"):
        assert f" {name} " in ended.stdout
        assert getattr(cli, name).__doc__


def test_a_course_error_is_one_sentence_and_exit_code_2():
    ended = command("run", "77")
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert len(ended.stderr.strip().splitlines()) == 1 and "77" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("train", "dcgan-digits", "--profile", "huge"), "quick, class, full"),
        (("sample", "dcgan-digits", "--output", "picture.gif"), ".png"),
        (("sample", "dates-iso"), "does not make pictures"),
        (("sample", "vae-melodies"), "does not make pictures"),
        (("compose", "Hey Jude"), "Vater unser im Himmelreich"),
        (("compose", "--output", "chorale.mp3"), "neither in .wav"),
        (("translate", "4 March 2021", "--name", "digit-classifier"), "does not translate"),
        (("translate", "4 March 2021" * 9), "at most 48"),
        (("write", "moon"), "does not know 'm', 'n', 'o'"),
        (("write", "春夏秋", "--acrostic"), "4 or 8"),
        (("write", "春夏秋冬", "--acrostic", "--form", "5x8"), "here 8"),
    ],
)
def test_bad_arguments(arguments, told, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["aigc-course", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    printed = capsys.readouterr().err
    assert end.value.code == 2 and told in printed and len(printed.strip().splitlines()) == 1


def test_translate_prints_a_line_each(monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["aigc-course", "translate", "4 March 2021", "", "2021年3月4日", "--beam-width", "2"]
    )
    cli.app(standalone_mode=False)
    assert capsys.readouterr().out.splitlines() == ["2021-03-04", "", "2021-03-04"]


def test_write_prints_a_poem_and_its_pinyin(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["aigc-course", "write", "春夏秋冬东西南北", "--acrostic", "--temperature", "0"])
    cli.app(standalone_mode=False)
    poem, sounds = capsys.readouterr().out.splitlines()
    lines = poem.replace("，", "。").split("。")
    assert [line[0] for line in lines[:-1]] == list("春夏秋冬东西南北") and {len(line) for line in lines[:-1]} == {7}
    assert len(sounds.split()) == 56


@pytest.mark.slow
def test_compose_keeps_the_melody_and_writes_what_other_programs_read(tmp_path, monkeypatch, capsys):
    import pretty_midi
    from scipy.io import wavfile

    path, plan = tmp_path / "song.mid", load_chorales().test.find("281")
    monkeypatch.setattr(sys, "argv", ["aigc-course", "compose", "281", "--temperature", "0", "--output", str(path)])
    cli.app(standalone_mode=False)
    assert "Christus, der ist mein Leben, BWV 281, F major" in capsys.readouterr().out
    voices = pretty_midi.PrettyMIDI(str(path)).instruments
    melody = plan.pitches[:, 0][plan.starts[:, 0]]
    assert len(voices) == 4 and [note.pitch for note in voices[0].notes] == melody.tolist()
    monkeypatch.setattr(sys, "argv", ["aigc-course", "compose", "--new", "--output", str(tmp_path / "song.wav")])
    cli.app(standalone_mode=False)
    rate, samples = wavfile.read(tmp_path / "song.wav")
    assert 15 < len(samples) / rate < 30 and np.abs(samples).max() > 1000


def test_sample_writes_a_picture_whole_or_not_at_all(tmp_path):
    path = tmp_path / "picture.png"
    cli._write(path, b"data")
    assert path.read_bytes() == b"data" and os.listdir(tmp_path) == ["picture.png"]
    with pytest.raises(CourseError, match="--output"):
        cli._write(tmp_path / "no such folder" / "picture.png", b"data")


def test_progress_is_a_line_in_ten_where_there_is_no_terminal():
    stream = io.StringIO()
    bar = cli.Bar(stream)
    for done in range(1, 41):
        bar("chapters/02.ipynb", done, 40)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 10 and lines[-1].startswith("chapters/02.ipynb: 40 of 40 cells")


# lab


def test_a_port_in_use_is_refused_if_chosen_and_passed_over_if_not(monkeypatch):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        assert not lab.is_free(port)
        with pytest.raises(CourseError, match="in use"):
            lab.choose_port(port)
        monkeypatch.setattr(lab, "PORTS", range(port, port + 20))
        assert lab.choose_port() > port


def test_lab_listens_on_this_machine_only_and_keeps_its_token(tmp_path):
    given = lab.arguments(tmp_path, 8899, browser=False)
    assert "--ServerApp.ip=127.0.0.1" in given and "--ServerApp.port=8899" in given and "--no-browser" in given
    assert not any("token" in argument or "password" in argument for argument in given)
    assert "--no-browser" not in lab.arguments(tmp_path, 8899, browser=True)


def test_lab_turns_the_news_off_and_keeps_the_readers_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "mine")
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    lab.prepare_environment(tmp_path)
    settings = json.loads((tmp_path / "labconfig" / "page_config.json").read_text())
    assert settings["disabledExtensions"] == {"@jupyterlab/apputils-extension:announcements": True}
    assert os.environ["JUPYTER_CONFIG_PATH"] == f"{tmp_path}{os.pathsep}mine"


# test


def stage_of(tmp_path, monkeypatch, body):
    """Run a stage on a test file with this body; return the result."""
    (tmp_path / "test_it.py").write_text(body, encoding="utf-8")
    monkeypatch.setattr(acceptance, "course_root", lambda: tmp_path)
    return acceptance.run(acceptance.Stage("a stage", ["test_it.py", "-p", "no:cacheprovider"]), {})


def test_a_green_stage_shows_pytests_closing_line(tmp_path, monkeypatch, capsys):
    result = stage_of(tmp_path, monkeypatch, "def test_a(): pass\ndef test_b(): pass\n")
    assert (result.code, result.closing[:9]) == (0, "2 passed ")
    assert acceptance.conclude([result]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("✓ a stage") and "2 passed in" in last


@pytest.mark.parametrize(
    ("body", "closing"), [("def test_a(): assert 0\n", "1 failed in"), ("x = 1\n", "no tests ran in")]
)
def test_a_failing_or_empty_stage_is_a_failure(tmp_path, monkeypatch, capsys, body, closing):
    result = stage_of(tmp_path, monkeypatch, body)
    assert result.code != 0 and closing in result.closing
    green = acceptance.Result(acceptance.Stage("green"), 0, "1 passed in 0.01s")
    assert acceptance.conclude([green, result]) == 1
    assert "1 of 2 stages FAILED" in capsys.readouterr().out


def test_torch_is_skipped_aloud_where_it_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(acceptance.importlib.util, "find_spec", lambda name: None)
    result = acceptance.run(acceptance.unit_tests("torch"), {})
    assert acceptance.conclude([result]) == 0
    assert "SKIPPED" in (printed := capsys.readouterr().out) and "setup torch" in printed


@pytest.mark.parametrize(
    ("line", "closing"),
    [
        ("3 passed, 1 skipped in 2.05s\n", "3 passed, 1 skipped in 2.05s"),
        ("\x1b[32m== \x1b[1m12 passed\x1b[0m\x1b[32m in 61.20s (0:01:01)\x1b[0m ==\n", "12 passed in 61.20s"),
        ("1 failed, 2 errors in 0.10s", "1 failed, 2 errors in 0.10s"),
        ("gw0 [12] passed", ""),
    ],
)  # fmt: skip
def test_closing_line(line, closing):
    assert acceptance.closing_line(line) == closing


def test_require_gpu_says_clearly_that_there_is_none(monkeypatch, capsys):
    monkeypatch.setattr(acceptance, "find_device", lambda: ("jax", ""))
    with pytest.raises(CourseError, match="needs a GPU"):
        acceptance.on_gpu()
    assert capsys.readouterr().out == "Keras on jax, device: CPU\n"


def test_require_gpu_executes_every_notebook_one_after_another(tmp_path, monkeypatch):
    for path in ("chapters/00_odd.ipynb", "chapters/07_even.ipynb", "chapters/solutions/00_odd.ipynb"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    ran = []
    monkeypatch.setattr(acceptance, "course_root", lambda: tmp_path)
    monkeypatch.setattr(acceptance, "find_device", lambda: ("jax", "NVIDIA H100"))
    monkeypatch.setattr(acceptance, "run", lambda *given: ran.append(given) or acceptance.Result(given[0], 0, ""))
    monkeypatch.delenv("AIGC_PROFILE", raising=False)
    assert acceptance.on_gpu() == 0
    assert [[word for word in stage.arguments if word.endswith(".ipynb")] for stage, _ in ran] == [
        ["chapters/00_odd.ipynb", "chapters/07_even.ipynb"],
        ["chapters/solutions/00_odd.ipynb"],
    ]
    for stage, variables in ran:
        assert "--nbval-lax" in stage.arguments and "-n" not in stage.arguments
        assert {**variables, **stage.variables}["KERAS_BACKEND"] == "jax"
        assert variables["AIGC_PROFILE"] == "quick"


def test_notebooks_and_solutions_run_with_and_without_answers():
    stages = acceptance.notebook_stages({"KERAS_BACKEND": "tensorflow"}, acceptance.PARALLEL)
    assert [stage.variables["AIGC_SOLUTIONS"] for stage in stages] == ["0", "1"]
    brief = acceptance.notebook_stages({}, [], again=False)
    assert [stage.variables["AIGC_ANSWERS_ONLY"] for stage in (*stages, *brief)] == ["0", "0", "0", "1"]
    sources = {path.stem for path in (ROOT / "chapters" / "src").glob("[0-9][0-9]_*.py")}
    for stage in stages:
        assert {Path(word).stem for word in stage.arguments if word.endswith(".ipynb")} == sources


# doctor


def test_doctor_finds_a_damaged_file(tmp_path, monkeypatch, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "odd.npz").write_bytes(b"damaged")
    card = {"file": "odd.npz", "sha256": "0" * 64}
    (tmp_path / "data" / "odd.json").write_text(json.dumps(card), encoding="utf-8")
    monkeypatch.setattr(doctor, "course_root", lambda: tmp_path)
    (finding,) = doctor.files()
    assert "odd" in finding.text and "damaged" in finding.fault and "git checkout data" in finding.fault


def test_doctor_goes_on_after_a_fault_and_counts_it(monkeypatch, capsys):
    def broken():
        raise ImportError("no keras here")

    for name in ("backend", "files", "checkpoints", "notebooks"):
        monkeypatch.setattr(doctor, name, broken if name == "backend" else lambda: [doctor.Finding("X", "fine")])
    assert doctor.report() == 1
    printed = capsys.readouterr().out
    assert "no keras here" in printed and "What to do" in printed
    monkeypatch.setattr(doctor, "backend", lambda: [doctor.Finding("Keras", "fine")])
    assert doctor.report() == 0
    assert "All is well." in capsys.readouterr().out
