"""The builder: one source file for each chapter, several executed notebooks from it.

``chapters/src/NN_topic.py`` (jupytext percent format) becomes ``chapters/NN_topic.ipynb`` for students,
``chapters/solutions/NN_topic.ipynb`` with the answers and, where the source holds a translation,
``chapters/zh/NN_topic.ipynb``. Cell tags decide what goes where:

- ``exercise``: only where the reader is to write the answer; ``solution``: only in the notebook with answers;
- ``zh`` on a markdown cell: the Chinese text of the markdown cell before it;
- ``nbval-check-output`` and the presentation tags (``hide-input`` and the like) are passed through;
- any other tag is an error, since a tag with a slip in it would silently do nothing.

``make`` is pure and gives the same cells and cell ids for the same source. ``build`` executes, cleans the outputs
(no absolute path, no widget state, no framework chatter) and stamps the SHA-256 of the source, so that ``stale`` can
tell which notebooks no longer match.   Maintainers: see CONTRIBUTING.md.
"""

import hashlib
import re
from collections import Counter
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import jupytext
import nbformat
from nbformat import NotebookNode

from aigc_course import runtime
from aigc_course.notebook_runs import LANGUAGE, Progress, backend, clean, execute, output_faults
from aigc_course.runtime import CourseError

BUILDER_VERSION = 1  # raise it when the same source would give another notebook
MAX_BYTES = 2_000_000

ROLE_TAGS = {"exercise", "solution", "zh"}
PASSED_TAGS = {
    "nbval-check-output",
    "nbval-ignore-output",
    "hide-input",
    "hide-output",
    "hide-cell",
    "remove-input",
    "remove-output",
    "remove-cell",
}


@dataclass(frozen=True)
class Edition:
    """One kind of notebook: the folder below ``chapters/``, whether answers are in it, and how it points to them."""

    folder: str
    answers: bool
    language: str
    signpost: str

    @property
    def up(self) -> str:
        """Path from this edition's folder to ``chapters/``, as a prefix for links."""
        return "../" if self.folder else ""


EDITIONS = {
    "student": Edition("", False, "en", "Worked answers, for when you have tried: [{name}]({up}solutions/{name})."),
    "solutions": Edition(
        "solutions", True, "en", "The answers are below; the notebook to work in is [{name}](../{name})."
    ),
    "zh": Edition("zh", False, "zh", "做完之后再看参考答案：[{name}]({up}solutions/{name})。"),
}


class Stale(NamedTuple):
    """A notebook that does not match its source, and why."""

    path: Path
    reason: str

    def __str__(self):
        return f"{_shown(self.path)}: {self.reason}"


# Sources


def chapters_folder() -> Path:
    """The folder ``chapters/`` of this checkout."""
    return runtime.course_root() / "chapters"


def chapters() -> list[Path]:
    """The chapters' sources, in order of their numbers."""
    return sorted((chapters_folder() / "src").glob("[0-9][0-9]_*.py"))


def find(number: int | str) -> Path:
    """The source of a chapter, by its number (``2``, ``"02"``) or its name (``"02_gan_mathematics"``)."""
    wanted = str(number).strip()
    known = chapters()
    found = [path for path in known if wanted == path.stem or (wanted.isdigit() and int(wanted) == int(path.stem[:2]))]
    if len(found) == 1:
        return found[0]
    names = ", ".join(path.stem for path in found or known) or "none"
    if found:
        raise CourseError(f"Chapter number {wanted} is used twice: {names}.")
    raise CourseError(f"There is no chapter {wanted!r}; the chapters are: {names}.")


def source_sha256(source: Path) -> str:
    """SHA-256 of a source's text, the same whichever line endings the checkout has."""
    return hashlib.sha256(_text(source).encode("utf-8")).hexdigest()


def editions_of(source: Path) -> tuple[str, ...]:
    """The editions that a source can be built into: student and solutions always, zh where it holds a translation."""
    translated = any("zh" in _tags(cell) for cell in _read(source))
    return ("student", "solutions", "zh") if translated else ("student", "solutions")


def notebook_path(source: Path, edition: str = "student") -> Path:
    """Where the notebook of ``source`` lies."""
    return chapters_folder() / _edition(edition).folder / f"{source.stem}.ipynb"


def _edition(name: str) -> Edition:
    if name not in EDITIONS:
        raise CourseError(f"There is no edition {name!r}; choose from {', '.join(EDITIONS)}.")
    return EDITIONS[name]


def _text(source: Path) -> str:
    try:
        return source.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CourseError(f"{_shown(source)} is missing; restore it with `git checkout chapters/src`.") from None
    except UnicodeDecodeError:
        raise CourseError(f"{_shown(source)} is not UTF-8 text; save it as UTF-8.") from None


def _shown(path: Path) -> str:
    """``path`` as it is said to the reader: from the course's folder, with forward slashes."""
    root = runtime.course_root()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def _read(source: Path) -> list[NotebookNode]:
    """The cells of a source, in order, with their tags checked."""
    text = _text(source)
    if not text.strip():
        raise CourseError(f"{_shown(source)} is empty; a chapter needs at least a title.")
    try:
        cells = [cell for cell in jupytext.reads(text, fmt="py:percent").cells if cell.source.strip()]
    except nbformat.ValidationError as error:
        raise CourseError(
            f'{_shown(source)} has faulty cell options, {error.message} (tags=["zh"] is right).'
        ) from None
    for before, cell in zip([None, *cells], cells, strict=False):
        if fault := _tag_fault(cell, before):
            raise CourseError(f"{_place(source, cell)}: {fault}")
    return cells


def _tag_fault(cell, before) -> str | None:
    """What is wrong with a cell's tags, or None."""
    tags = _tags(cell)
    if unknown := sorted(set(tags) - ROLE_TAGS - PASSED_TAGS):
        known = ", ".join(sorted(ROLE_TAGS | PASSED_TAGS))
        return f"unknown tag {', '.join(unknown)}; known are {known}."
    if {"exercise", "solution"} <= set(tags):
        return "a cell cannot be both exercise and solution."
    if "zh" in tags and (before is None or cell.cell_type != "markdown" or not _translatable(before)):
        return "a zh cell must be markdown and follow the markdown cell that it translates."
    return None


def _translatable(cell) -> bool:
    return cell.cell_type == "markdown" and "zh" not in _tags(cell)


def _place(source: Path, cell) -> str:
    """``chapters/src/NN_topic.py line 12``, or without the line where the cell is not found word for word."""
    wanted = cell.source.strip()
    if cell.cell_type == "markdown":
        wanted = "\n".join(f"# {line}".rstrip() for line in wanted.splitlines())
    before, found, _ = f"\n{_text(source)}\n".partition(f"\n{wanted}\n")
    return f"{_shown(source)} line {before.count(chr(10)) + 1}" if found else _shown(source)


# From a source to a notebook that has not run


def make(source: Path, edition: str = "student") -> NotebookNode:
    """The notebook of one edition, not executed; the same source gives the same notebook, cell ids included."""
    kind = _edition(edition)
    cells = _read(source)
    has_answers = any("solution" in _tags(cell) for cell in cells)
    cells = [cell for cell in _in_language(cells, kind.language) if _belongs(cell, kind)]
    for cell in cells:
        if cell.cell_type == "markdown":
            cell.source = _relocated(cell.source, kind)
    if has_answers:
        _add_signpost(cells, kind, f"{source.stem}.ipynb")
    return _assembled(cells, {"source_sha256": source_sha256(source), "builder": BUILDER_VERSION, "edition": edition})


def _in_language(cells, language: str) -> list[NotebookNode]:
    """The cells with each translated text in ``language``; the other languages are left out."""
    chosen = []
    for cell in cells:
        if "zh" not in _tags(cell):
            chosen.append(cell)
        elif language == "zh":
            chosen[-1].source = cell.source
    return chosen


def _belongs(cell, kind: Edition) -> bool:
    return ("exercise" if kind.answers else "solution") not in _tags(cell)


def _relocated(text: str, kind: Edition) -> str:
    """Relative links of a text written for ``chapters/``, as they must read in the edition's folder.

    A link to a neighbouring chapter stays where that chapter has the same edition.
    """

    def moved(match):
        link = match["link"]
        stays = re.match(r"[a-z][a-z0-9+.-]*:|#|/", link) or _is_neighbour(link, kind)
        return match[0] if stays else f"{match['before']}{kind.up}{link}"

    return re.sub(r"""(?P<before>\]\(|(?:src|href)=["'])(?P<link>[^)"'\s]+)""", moved, text)


def _is_neighbour(link: str, kind: Edition) -> bool:
    """Whether ``link`` names a chapter that is written, or will be, in the language of this edition."""
    name = re.fullmatch(r"(\d\d_\w+)\.ipynb(#.*)?", link)
    if not name or kind.language == "en":
        return bool(name)
    source = runtime.course_root() / "chapters" / "src" / f"{name[1]}.py"
    return source.exists() and kind.folder in editions_of(source)


def _add_signpost(cells, kind: Edition, name: str) -> None:
    """Say under the heading of the exercises, or else before the first one, where the other edition is."""
    texts = [cell for cell in cells if cell.cell_type == "markdown"]
    headed = [cell for cell in texts if re.search(r"^##+ .*(\bExercises\b|练习)", cell.source, re.M)]
    before_first = [
        before
        for before, cell in pairwise(cells)
        if before.cell_type == "markdown" and {"exercise", "solution"} & set(_tags(cell))
    ]
    for cell in (headed or before_first)[:1]:
        if "solutions/" not in cell.source:
            cell.source = cell.source.rstrip() + "\n\n" + kind.signpost.format(name=name, up=kind.up)


def _assembled(cells, stamp: dict) -> NotebookNode:
    notebook = nbformat.v4.new_notebook(metadata=_metadata(stamp))
    seen = Counter()
    for cell in cells:
        new = nbformat.v4.new_code_cell if cell.cell_type == "code" else nbformat.v4.new_markdown_cell
        notebook.cells.append(new(cell.source, id=_cell_id(cell, seen), metadata=_cell_metadata(cell)))
    return notebook


def _metadata(stamp: dict) -> dict:
    return {
        "aigc": stamp,
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": dict(LANGUAGE),
    }


def _cell_id(cell, seen: Counter) -> str:
    """An id from what the cell says, so that a new cell elsewhere changes no other id; twins are numbered."""
    digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
    seen[digest] += 1
    return digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"


def _cell_metadata(cell) -> dict:
    """The tags, and what JupyterLab understands of them."""
    tags = _tags(cell)
    hidden = {
        "source_hidden": bool({"hide-input", "hide-cell"} & set(tags)),
        "outputs_hidden": bool({"hide-output", "hide-cell"} & set(tags)),
    }
    jupyter = {name: True for name, value in hidden.items() if value and cell.cell_type == "code"}
    return ({"tags": tags} if tags else {}) | ({"jupyter": jupyter} if jupyter else {})


# Building


def build(
    number: int | str | None = None,
    editions: tuple[str, ...] | None = None,
    execute: bool = True,
    progress: Progress | None = None,
) -> list[Path]:
    """Build the notebooks of one chapter, or of all, and return their paths.

    Args:
        number: chapter number or name; None builds all.
        editions: some of ``student``, ``solutions``, ``zh``; None takes all that the source has.
        execute: False writes drafts without outputs, which ``stale`` goes on reporting.
        progress: called with ``(notebook, code cells done, code cells in all)``.

    Raises:
        CourseError: the source has a fault or a cell failed. What ran so far is then in ``runs/``, and the notebook
            that was there before is left as it was.
    """
    return [
        _build_one(source, edition, execute, progress)
        for source in (chapters() if number is None else [find(number)])
        for edition in editions or editions_of(source)
    ]


def _build_one(source: Path, edition: str, with_outputs: bool, progress: Progress | None) -> Path:
    path, notebook = notebook_path(source, edition), make(source, edition)
    if with_outputs and EDITIONS[edition].language != "en":
        _borrow_outputs(notebook, source)
    elif with_outputs:
        with _kept_on_failure(notebook, source, edition):
            _run_cells(notebook, source, edition, progress)
            demand_publishable(notebook, path)
        notebook.metadata.aigc |= {"profile": runtime.profile(), "backend": backend()}
    return write(notebook, path)


def _run_cells(notebook: NotebookNode, source: Path, edition: str, progress: Progress | None) -> None:
    execute(
        notebook,
        name=_shown(notebook_path(source, edition)),
        where=partial(_place, source),
        answers=EDITIONS[edition].answers,
        progress=progress,
    )
    clean(notebook)


def demand_publishable(notebook: NotebookNode, path: Path) -> None:
    """Raise CourseError if something in the outputs must not be published."""
    if faults := output_faults(notebook):
        raise CourseError(f"{_shown(path)} cannot be published: {faults[0]}")
    if (size := len(_bytes(notebook))) > MAX_BYTES:
        raise CourseError(f"{_shown(path)} would have {size:,} bytes, more than {MAX_BYTES:,}; {_largest(notebook)}")


@contextmanager
def _kept_on_failure(notebook: NotebookNode, source: Path, edition: str):
    """Leave in ``runs/`` what ran before something failed, for a look at it."""
    try:
        yield
    except CourseError as error:
        kept = write(clean(notebook), _run_path(source, edition))
        raise CourseError(f"{str(error).rstrip('.')}. What ran so far is in {_shown(kept)}.") from None


def _borrow_outputs(notebook: NotebookNode, source: Path) -> None:
    """Take the outputs from the student notebook: a translation has the same code, so it need not run again."""
    original = notebook_path(source)
    if reason := _stale_reason(source, "student"):
        raise CourseError(f"{_shown(original)} is needed first ({reason}); build the student edition too.")
    ran = nbformat.read(original, as_version=4)
    by_id = {cell.id: cell for cell in ran.cells if cell.cell_type == "code"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [_output_relocated(output, notebook) for output in deepcopy(by_id[cell.id].outputs)]
            cell.execution_count = by_id[cell.id].execution_count
    notebook.metadata.aigc |= {name: ran.metadata.aigc[name] for name in ("profile", "backend")}


def _output_relocated(output: NotebookNode, notebook: NotebookNode) -> NotebookNode:
    """``output`` with the links of its texts as they must read in the edition's folder."""
    kind = _edition(notebook.metadata.aigc["edition"])
    for name in {"text/markdown", "text/html"} & set(output.get("data", {})):
        output.data[name] = _relocated(output.data[name], kind)
    return output


def run(number: int | str, edition: str = "student", progress: Progress | None = None) -> Path:
    """Execute a fresh copy of a chapter and leave it in ``runs/``; the reader's own notebook is not touched.

    Raises:
        CourseError: a cell failed; the copy in ``runs/`` shows it.
    """
    source = find(number)
    notebook = make(source, edition)
    with _kept_on_failure(notebook, source, edition):
        _run_cells(notebook, source, edition, progress)
    return write(notebook, _run_path(source, edition))


def _run_path(source: Path, edition: str) -> Path:
    return runtime.course_root() / "runs" / EDITIONS[edition].folder / f"{source.stem}.ipynb"


def write(notebook: NotebookNode, path: Path) -> Path:
    """Write a notebook whole or not at all."""
    data = _bytes(notebook)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        runtime.write_whole({path: data})
    except OSError as error:
        raise CourseError(f"{_shown(path)} could not be written ({error.strerror}); nothing was changed.") from None
    return path


def _bytes(notebook: NotebookNode) -> bytes:
    nbformat.validate(notebook)
    return (nbformat.writes(notebook).rstrip("\n") + "\n").encode("utf-8")


def _largest(notebook: NotebookNode) -> str:
    sizes = {i: len(str(cell.get("outputs", ""))) for i, cell in enumerate(notebook.cells)}
    index = max(sizes, key=sizes.get)
    return f"the outputs of cell {index + 1} take {sizes[index]:,}."


# What is out of date


def stale() -> list[Stale]:
    """The notebooks that are missing, do not match their source, or have no source any more."""
    found = [
        Stale(notebook_path(source, edition), reason)
        for source in chapters()
        for edition in editions_of(source)
        if (reason := _stale_reason(source, edition))
    ]
    return found + _orphans()


def _stale_reason(source: Path, edition: str) -> str | None:
    """Why the notebook of ``source`` must be built again, or None."""
    path = notebook_path(source, edition)
    notebook = _built(path)
    if notebook is None:
        return "cannot be read" if path.exists() else "not built yet"
    stamp, fresh = notebook.metadata.get("aigc", {}), make(source, edition)
    for name, what in (("source_sha256", "the source has changed"), ("builder", "the builder has changed")):
        if stamp.get(name) != fresh.metadata.aigc[name]:
            return what
    if [cell.source for cell in notebook.cells] != [cell.source for cell in fresh.cells]:
        return "its cells were changed by hand; change the source instead"
    return None if "profile" in stamp else "a draft that was not executed"


def _built(path: Path) -> NotebookNode | None:
    try:
        return nbformat.read(path, as_version=4)
    except (OSError, ValueError, nbformat.ValidationError, nbformat.reader.NotJSONError):
        return None


def _orphans() -> list[Stale]:
    """Built notebooks without a source; a reader's own notebooks carry no stamp and are left in peace."""
    sources = {source.stem for source in chapters()}
    folders = {chapters_folder() / edition.folder for edition in EDITIONS.values()}
    strangers = [path for folder in folders for path in sorted(folder.glob("*.ipynb")) if path.stem not in sources]
    return [Stale(path, "its source is gone") for path in strangers if _stamped(path)]


def _stamped(path: Path) -> bool:
    notebook = _built(path)
    return notebook is not None and "aigc" in notebook.metadata
