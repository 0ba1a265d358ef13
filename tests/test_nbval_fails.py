"""The notebooks turn red when the course is broken: each fault is put in on purpose and nbval must see it.

The notebook is small, but made of the course's own pieces: built by the builder, it trains a GAN on two lumps of
points, compares a loss with its formula, checks a number against its band, draws slider panels and has one cell whose
output is compared. It runs as CI runs the chapters. First the whole notebook must be green, or a red one would prove
nothing; then each fault must turn red exactly the cell that it belongs to.
"""

import re
import subprocess
import sys
from dataclasses import dataclass

import nbformat
import pytest

from aigc_course import acceptance, notebooks, runtime

pytestmark = pytest.mark.slow

CHAPTER = """\
# %% [markdown]
# # A chapter in small

# %% tags=["hide-input"]
import pathlib

import keras
import numpy as np

from aigc_course import check, gan, runtime, widgets

root = pathlib.Path.cwd().parent
runtime.course_root = lambda: root
runtime.setup(seed=0)
rng = np.random.default_rng(0)
points = (rng.choice([-1.0, 1.0], (512, 1)) * 0.5 + rng.normal(0, 0.05, (512, 1))).astype("float32")

# %%
real, fake = np.array([[2.0], [-1.0]]), np.array([[-0.5], [0.25]])
by_hand = np.mean(np.log1p(np.exp(-real))) + np.mean(np.log1p(np.exp(fake)))
check.close(gan.discriminator_loss(real, fake), by_hand)

# %%
dense = keras.layers.Dense
generator = keras.Sequential([keras.Input((3,)), dense(16, "tanh"), dense(1)])
discriminator = keras.Sequential([keras.Input((1,)), dense(16, "tanh"), dense(1)])
model = gan.GAN(generator, discriminator)
model.compile(keras.optimizers.Adam(0.005))
model.fit(points, epochs=4, batch_size=64, verbose=0)
made = keras.ops.convert_to_numpy(generator(gan.sample_noise(256, 3)))

# %%
check.between("small/spread", made.std())

# %%
again = keras.ops.convert_to_numpy(generator(gan.sample_noise(256, 3, seed=1)))
check.between("small/spread", again.std())

# %%
TOP = 10


def picture(level):
    return np.full((8, 8), level / TOP)


widgets.explore(picture, alt="A grey square", level=widgets.slider(0, 10, 1, 3, "grey level"))

# %%
panel = widgets.explore(
    lambda level: np.full((8, 8), level / TOP), alt="A grey square", level=widgets.slider(0, 10, 1, 3, "grey level")
)
panel.inputs["level"].value = 10

# %% tags=["nbval-check-output"]
print("points", points.shape, "of mean size", abs(points).mean().round(1))
"""


@dataclass(frozen=True)
class Fault:
    """A fault: the words to replace, what with, and which code cell (counted from 0) must turn red, and why."""

    name: str
    old: str
    new: str
    cell: int
    says: str


SEEDED = "runtime.setup(seed=0)\n"
WRONG_SIGN = SEEDED + "right = gan.discriminator_loss\ngan.discriminator_loss = lambda *given: -right(*given)\n"
WEIGHTS = "generator.set_weights([{} * weight for weight in generator.get_weights()])\n"
FAULTS = [
    Fault("wrong sign of a loss", SEEDED, WRONG_SIGN, 1, "differs from the reference"),
    Fault("zeroed weights", "made = ", WEIGHTS.format("0") + "made = ", 3, "it is below its band"),
    Fault("weights gone to NaN", "again = ", WEIGHTS.format("np.nan") + "again = ", 4, "is NaN"),
    Fault(
        "slider broken at its far end",
        "return np.full((8, 8), level / TOP)",
        "return np.full((8, 8), 1 / (10 - level))",
        5,
        "was tried at level = 10",
    ),
    Fault("slider that breaks when moved", "panel.inputs", "TOP = 0\npanel.inputs", 6, "ZeroDivisionError"),
    Fault("checked output changed", "* 0.5 +", "* 0.8 +", 7, "outputs differ"),
]
SPREAD = '["small/spread"]\nall = [0.01, 3.0]\nwhat = "spread of the made points"\n'
REPORT = re.compile(r"^(?:_+ .*?(\d\d_\w+)\.ipynb::Cell (\d+) _+|=+ .* =+)$", re.M)


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """What nbval says of the sound notebook and its broken twin: (exit code, reports of the red cells, all output)."""
    root = tmp_path_factory.mktemp("course")
    (root / "data").mkdir()
    (root / "chapters" / "src").mkdir(parents=True)
    (root / "chapters" / "expected.toml").write_text(SPREAD, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        *acceptance.NBVAL,
        *acceptance.PARALLEL,
        "--color=no",
        *map(str, write_notebooks(root)),
    ]
    done = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", timeout=600, check=False)
    return done.returncode, reports(done.stdout), done.stdout


def write_notebooks(root):
    """Paths of the sound notebook, built and executed, and of its broken twin: other code under the same outputs."""
    source = root / "chapters" / "src" / "01_sound.py"
    source.write_text(CHAPTER, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "course_root", lambda: root)
        patch.setenv("AIGC_PROFILE", "quick")
        (sound,) = notebooks.build(1, ("student",))
        twin = nbformat.read(sound, as_version=4)
        for fault in FAULTS:
            put_in(twin, fault)
        return sound, notebooks.write(twin, sound.with_name("02_broken.ipynb"))


def put_in(notebook, fault):
    """Put a fault into the code; it must fit exactly one place."""
    cells = [cell for cell in notebook.cells if fault.old in cell.source]
    assert len(cells) == 1 and cells[0].source.count(fault.old) == 1, f"{fault.name!r} must fit one place"
    cells[0].source = cells[0].source.replace(fault.old, fault.new)


def reports(output):
    """Dict from ``(notebook, cell)`` to what pytest reports of its failure."""
    marks = list(REPORT.finditer(output))
    ends = [mark.start() for mark in marks[1:]] + [len(output)]
    return {(mark[1], int(mark[2])): output[mark.end() : end] for mark, end in zip(marks, ends, strict=True) if mark[1]}


def test_the_sound_notebook_is_green(verdicts):
    code, red, output = verdicts
    num_cells = CHAPTER.count("# %%") - 1
    assert code == 1 and f"{len(FAULTS)} failed, {2 * num_cells - len(FAULTS)} passed" in output, output
    assert all(name == "02_broken" for name, _ in red), output


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_each_fault_turns_its_cell_red(verdicts, fault):
    _, red, output = verdicts
    assert ("02_broken", fault.cell) in red, output
    assert fault.says in red["02_broken", fault.cell]


def test_no_other_cell_turns_red(verdicts):
    assert {cell for _, cell in verdicts[1]} == {fault.cell for fault in FAULTS}
