"""The command line: ``aigc-course lab | run | build | train | sample | translate | write | compose | test | doctor``
(also ``python -m aigc_course``).

What a command needs is imported inside it, so that ``--help`` answers at once. A ``CourseError`` becomes its sentence
on stderr and exit code 2.
"""

import importlib
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from aigc_course.runtime import PROFILES, CourseError, write_whole

app = typer.Typer(
    help="A hands-on course on generative AI. Start with `aigc-course lab`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Seed = Annotated[int, typer.Option(min=0, help="The same seed on the same machine gives the same result.")]


def main():
    """Run the command line; a problem that the reader can mend ends with one sentence and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console that lacks a sign shows "?" instead of failing
    try:
        app(prog_name="aigc-course")
    except CourseError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


@app.command()
def lab(
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser window.")] = True,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port to use; a free one unless told.")] = None,
):
    """Open the course in JupyterLab, on this machine only."""
    from aigc_course import lab as jupyter

    jupyter.start(port=port, browser=browser)


@app.command()
def run(chapter: Annotated[str, typer.Argument(help="Number of the chapter, such as 02.")]):
    """Execute a chapter without a browser and leave the executed notebook in runs/."""
    from aigc_course import notebooks

    path = notebooks.run(chapter, progress=Bar())
    print(f"The executed notebook is {_from_here(path)}.")


@app.command()
def build(
    chapter: Annotated[str | None, typer.Argument(help="Number of a chapter; all of them unless told.")] = None,
    readme: Annotated[bool, typer.Option("--readme", help="Only renew the table of chapters in README.md.")] = False,
):
    """Make the notebooks from chapters/src, executed, and renew the table of chapters in README.md."""
    from aigc_course import readme as table

    if not readme:
        from aigc_course import notebooks

        for path in notebooks.build(chapter, progress=Bar()):
            print(f"built {_from_here(path)}")
    if table.renew():
        print("renewed the table of chapters in README.md")


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="Name of the shipped weights, such as dcgan-digits.")],
    seed: Seed = 0,
    profile: Annotated[str, typer.Option(help=f"How long: {', '.join(PROFILES)}.")] = "full",
    output: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder for weights and card; data/checkpoints unless told.")
    ] = None,
):
    """Train one of the course's networks and save its weights with a card; an interrupted run goes on."""
    if profile not in PROFILES:
        raise CourseError(f"There is no profile {profile!r}; choose one of {', '.join(PROFILES)}.")
    os.environ["AIGC_PROFILE"] = profile
    recipes = quietly_import("aigc_course.recipes")
    path = recipes.train_checkpoint(name, seed=seed, profile=profile, target=output)
    print(f"The weights are {_from_here(path)}, their card lies beside them.")


@app.command()
def sample(
    name: Annotated[str, typer.Argument(help="Name of the shipped weights, such as dcgan-digits.")],
    count: Annotated[int, typer.Option(min=1, max=10_000, help="How many pictures.")] = 64,
    seed: Seed = 0,
    output: Annotated[Path | None, typer.Option(dir_okay=False, help="PNG file; NAME.png unless told.")] = None,
):
    """Draw pictures from trained weights and write them as one PNG file."""
    output = output or Path(f"{name}.png")
    if output.suffix.lower() != ".png":
        raise CourseError(f"{output} does not end in .png; the pictures are written as PNG.")
    quietly_import("aigc_course.recipes")
    from aigc_course import checkpoints, plots

    model = checkpoints.load(name)
    images = model.sample(count, seed=seed) if hasattr(model, "sample") else None
    if images is None or images.shape[-1] not in (1, 3):
        raise CourseError(f"{name} does not make pictures; `aigc-course sample dcgan-digits` does.")
    columns = min(count, max(1, round(count**0.5)))
    grid = plots.enlarge(plots.image_grid(images, columns), 3)
    _write(output, plots.png(grid, level=6))
    print(f"{count} pictures from {name}, seed {seed}: {_from_here(output)}")


@app.command()
def translate(
    texts: Annotated[list[str], typer.Argument(help="Dates in words, each in quotation marks.")],
    name: Annotated[str, typer.Option(help="Name of the shipped weights: dates-iso, or dates-zh.")] = "dates-iso",
    beam_width: Annotated[int, typer.Option(min=1, max=64, help="Beginnings that the search keeps.")] = 1,
):
    """Translate texts with trained weights, one line each."""
    quietly_import("aigc_course.recipes")
    from aigc_course import checkpoints

    model = checkpoints.load(name)
    if not hasattr(model, "translate"):
        raise CourseError(f"{name} does not translate; `aigc-course translate --name dates-iso` does.")
    print(*model.translate(texts, beam_width=beam_width), sep="\n")


@app.command()
def write(
    beginning: Annotated[str, typer.Argument(help="Chinese characters that the poem begins with.")] = "",
    form: Annotated[
        str | None, typer.Option(help="5x4, 5x8, 7x4 or 7x8: characters of a line, lines; lines of seven unless told.")
    ] = None,
    acrostic: Annotated[bool, typer.Option("--acrostic", help="One character of the beginning a line.")] = False,
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many poems.")] = 1,
    temperature: Annotated[
        float, typer.Option(min=0, max=100, help="0 takes the most probable character each time.")
    ] = 0.8,
    seed: Seed = 0,
):
    """Write Tang poems with trained weights, one line each, with their pinyin."""
    quietly_import("aigc_course.recipes")
    from aigc_course import checkpoints, poet
    from aigc_course.datasets import poems
    from aigc_course.sampling import Sampler

    writer, sampler = poet.Poet(checkpoints.load("gpt2-poems")), Sampler(temperature)
    if acrostic:
        found = [writer.acrostic(beginning, form, sampler, seed + number) for number in range(count)]
    else:
        found = writer.write(form or "7x4", beginning, count, sampler, seed)
    for text in found:
        print(text, poems.pinyin(text), sep="\n")


@app.command()
def compose(
    tune: Annotated[str, typer.Argument(help="Part of a held-out chorale's title, or its BWV number.")] = "281",
    new: Annotated[bool, typer.Option("--new", help="Write all four voices, not only the lower three.")] = False,
    temperature: Annotated[float, typer.Option(min=0, max=100, help="0 takes the most probable note each time.")] = 0.7,
    seed: Seed = 0,
    output: Annotated[
        Path, typer.Option(dir_okay=False, help="Sound (.wav), notes for other programs (.mid) or a score (.svg).")
    ] = Path("chorale.wav"),
):
    """Set a melody for four voices with trained weights, in the manner of Bach's chorales."""
    if output.suffix.lower() not in (".wav", ".mid", ".svg"):
        raise CourseError(f"{output} ends neither in .wav nor in .mid nor in .svg.")
    quietly_import("aigc_course.recipes")
    from aigc_course import checkpoints, chorale_writer
    from aigc_course.datasets.chorales import load_chorales
    from aigc_course.sampling import Sampler

    plan = load_chorales().test.find(tune)
    writer = chorale_writer.ChoraleWriter(checkpoints.load("wavenet-chorales"))
    music = writer.write(plan, Sampler(temperature), seed, keep_soprano=not new)
    _write(output, _as_file(music, output.suffix.lower()))
    print(f"{music.title or 'Chorale'}, BWV {music.bwv}, {music.key}, seed {seed}: {_from_here(output)}")


def _as_file(music, suffix) -> bytes:
    """The bytes of a chorale as a file of that kind."""
    from aigc_course import audio, score

    if suffix == ".svg":
        return score.score_svg(music.pitches, music.starts, **score.marks(music)).encode()
    if suffix == ".mid":
        return audio.midi(music.pitches, music.starts, title=music.title)
    return audio.music_clip(music.pitches, music.starts).wav()


@app.command()
def test(
    require_gpu: Annotated[
        bool, typer.Option("--require-gpu", help="Execute every notebook, and fail unless it runs on a GPU.")
    ] = False,
    fast: Annotated[bool, typer.Option("--fast", help="Only the quick unit tests, on TensorFlow.")] = False,
):
    """Run what the course's CI runs: the tests on each backend, then every notebook."""
    from aigc_course import acceptance

    sys.exit(acceptance.on_gpu() if require_gpu else acceptance.everything(fast=fast))


@app.command()
def doctor():
    """Say what this machine has, whether data and weights are whole, and what is missing."""
    from aigc_course import doctor as examination

    sys.exit(examination.report())


def quietly_import(name: str):
    """Import a module while what TensorFlow's C++ code says on start-up is kept off the screen."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        return importlib.import_module(name)
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class Bar:
    """Progress through the cells of a notebook: one bar that moves, or a line in ten where output is not a terminal."""

    def __init__(self, stream=None, width=24):
        self.stream, self.width = stream or sys.stdout, width
        self.name, self.start, self.shown = None, 0.0, 0

    def __call__(self, name: str, done: int, total: int):
        if name != self.name:
            self.name, self.start, self.shown = name, time.perf_counter(), 0
        tenths = done * 10 // max(total, 1)
        if self.stream.isatty():
            filled = done * self.width // max(total, 1)
            self._write(f"\r{'█' * filled}{'░' * (self.width - filled)} {self._line(done, total)}")
            self._write("\n" if done == total else "")
        elif tenths > self.shown:
            self.shown = tenths
            self._write(self._line(done, total) + "\n")

    def _line(self, done, total):
        return f"{self.name}: {done} of {total} cells, {time.perf_counter() - self.start:.0f} s"

    def _write(self, text):
        self.stream.write(text)
        self.stream.flush()


def _from_here(path: Path) -> Path:
    """``path`` as short as it can be written from the current folder."""
    path, here = Path(path).resolve(), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _write(path: Path, data: bytes):
    """Write a file whole or not at all."""
    try:
        write_whole({path: data})
    except OSError as error:
        raise CourseError(
            f"{path} could not be written ({error.strerror}); choose another place with --output."
        ) from None
