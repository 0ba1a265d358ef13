"""What ``aigc-course test`` runs: the tests on each backend, then every notebook by nbval, with times and a summary.

Every stage is a pytest of its own, since a process has one Keras backend. A stage in which pytest finds no test is a
failure: green must mean that something ran.
"""

import importlib.util
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field

from aigc_course.runtime import CourseError, course_root

PARALLEL = ["-n", "2", "--dist", "loadfile"]
NBVAL = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=600", "--nbval-kernel-startup-timeout=300"]
PROBE = "from aigc_course import runtime; print(runtime.backend(), runtime.accelerator() or '', sep='\\t')"
CLOSING = re.compile(
    r"(\d+ (passed|failed|skipped|errors?|deselected|xfailed|warnings?)\b.*|no tests ran.*) in [\d.]+s"
)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


# Hundreds of small functions are compiled for the tests on JAX and run once: optimising them costs more than it saves.
LITTLE_OPTIMISED = {"jax": {"XLA_FLAGS": "--xla_backend_optimization_level=0"}}


@dataclass(frozen=True)
class Stage:
    """One run of pytest: its title, arguments and environment variables; ``missing`` says why it cannot run."""

    title: str
    arguments: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    missing: str = ""


@dataclass(frozen=True)
class Result:
    """How a stage ended: ``code`` as pytest gave it (None if it did not run), its closing line, and its time."""

    stage: Stage
    code: int | None
    closing: str
    seconds: float = 0.0


def everything(fast: bool = False) -> int:
    """Run all stages (only the quick unit tests if ``fast``) and return the exit code, 0 if all are green."""
    quick = {"AIGC_PROFILE": "quick"}
    stages = [unit_tests("tensorflow", slow=not fast)]
    if not fast:
        notebooks = notebook_stages({"KERAS_BACKEND": "tensorflow"}, PARALLEL, again=False)
        stages += [unit_tests("jax"), unit_tests("torch"), *notebooks]
    return conclude([run(stage, quick) for stage in stages])


def on_gpu() -> int:
    """Execute every notebook on the backend in use; one after another, since they share one card's memory.

    Raises:
        CourseError: the backend does not compute on a GPU, or cannot be imported.
    """
    backend, accelerator = find_device()
    print(f"Keras on {backend}, device: {accelerator or 'CPU'}", flush=True)
    if not accelerator:
        raise CourseError(
            f"This test needs a GPU, and Keras on {backend} computes on the CPU: run it on a machine with an NVIDIA "
            "card, after `python3 course.py setup gpu`, or choose the backend that sees the card with KERAS_BACKEND."
        )
    variables = {
        "AIGC_PROFILE": os.environ.get("AIGC_PROFILE") or "quick",
        "KERAS_BACKEND": backend,
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    }
    return conclude([run(stage, variables) for stage in notebook_stages({}, [])], where=accelerator)


def find_device() -> tuple[str, str]:
    """Name of the Keras backend and of its GPU (empty for the CPU), asked in a process of its own."""
    asked = subprocess.run(
        [sys.executable, "-c", PROBE],
        cwd=course_root(),
        env=environment({}),
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode != 0:
        reason = (asked.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise CourseError(f"Keras could not be started ({reason}); run `aigc-course doctor`, or set KERAS_BACKEND.")
    backend, accelerator = asked.stdout.rstrip("\n").splitlines()[-1].split("\t")
    return backend, accelerator


def unit_tests(backend: str, slow: bool | None = None) -> Stage:
    """The tests of ``tests/`` on one backend; those marked slow on TensorFlow only."""
    title = f"tests on {backend}"
    slow = backend == "tensorflow" if slow is None else slow
    if backend == "torch" and importlib.util.find_spec("torch") is None:
        return Stage(title, missing="SKIPPED: PyTorch is not installed; `python3 course.py setup torch` adds it")
    order = "--no-loadscope-reorder"  # as tests/conftest.py has them: the slowest files first
    variables = {"KERAS_BACKEND": backend, **LITTLE_OPTIMISED.get(backend, {})}
    return Stage(title, ["tests", *PARALLEL, order, *([] if slow else ["-m", "not slow"])], variables)


def notebook_stages(variables: dict[str, str], parallel: list[str], again: bool = True) -> list[Stage]:
    """The students' notebooks, then those with the answers, where an exercise left open is a failure.

    Without ``again`` the latter run only the answers and what these need (``notebook_answers``): the rest of their
    cells are the students'.
    """
    root = course_root()
    stages = []
    whole = {"AIGC_SOLUTIONS": "0", "AIGC_ANSWERS_ONLY": "0"}
    answers_alone = {"AIGC_SOLUTIONS": "1", "AIGC_ANSWERS_ONLY": "0" if again else "1"}
    editions = (("notebooks", "chapters", whole), ("solutions", "chapters/solutions", answers_alone))
    for title, folder, settings in editions:
        paths = [path.relative_to(root).as_posix() for path in sorted((root / folder).glob("[0-9][0-9]_*.ipynb"))]
        if not paths:
            raise CourseError(f"There are no notebooks in {folder}/; make them with `aigc-course build`.")
        stages.append(Stage(title, [*NBVAL, *paths, *parallel], {**variables, **settings}))
    return stages


def run(stage: Stage, variables: dict[str, str]) -> Result:
    """Run one stage, showing pytest's output as it comes."""
    print(f"\n──── {stage.title} {'─' * (60 - len(stage.title))}", flush=True)
    if stage.missing:
        print(stage.missing, flush=True)
        return Result(stage, None, stage.missing)
    start, closing = time.perf_counter(), ""
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", *stage.arguments],
        cwd=course_root(),
        env=environment({**variables, **stage.variables}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    try:
        for line in process.stdout:
            print(line, end="", flush=True)
            closing = closing_line(line) or closing
        code = process.wait()
    finally:
        process.kill()
    return Result(stage, code, closing or f"pytest ended with exit code {code}", time.perf_counter() - start)


def closing_line(line: str) -> str:
    """pytest's closing words if ``line`` is its last line, else an empty string."""
    found = CLOSING.search(COLOUR.sub("", line))
    return found[0] if found else ""


def environment(variables: dict[str, str]) -> dict[str, str]:
    """The environment of a stage: the caller's own, the package on the path, and ``variables``."""
    paths = [str(course_root()), os.environ.get("PYTHONPATH", "")]
    # TensorFlow's C++ log would fill the pages of a failing test; the children see the same encoding everywhere.
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **variables,
    }


def conclude(results: list[Result], where: str = "") -> int:
    """Print one line a stage, pytest's own closing words in it, and return the exit code."""
    failed = [result for result in results if result.code not in (0, None)]
    minutes = sum(result.seconds for result in results) / 60
    verdict = f"{len(failed)} of {len(results)} stages FAILED" if failed else "All green"
    print(f"\n{verdict} in {minutes:.1f} minutes{f' on {where}' if where else ''}:")
    for result in results:
        mark = {None: "–", 0: "✓"}.get(result.code, "✗")
        print(f"{mark} {result.stage.title:20} {result.closing}", flush=True)
    return 1 if failed else 0
