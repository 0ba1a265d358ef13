"""Which cells of a notebook with answers its exercises need.

A solution's other cells stand word for word in the student's notebook, and that runs whole. So the tests run of a
solution only the answers, their checks, and the cells that define what these use, found from the names that a cell
binds and reads. What a cell only changes in place (a model that it trains, an entry that it sets) is not followed, so
no answer may rest on that; a name that is missing shows at once.
"""

import dis
from collections.abc import Iterator
from itertools import islice
from types import CodeType

from nbformat import NotebookNode

CHECK = "check.exercise("


def cells_needed(notebook: NotebookNode) -> set[str]:
    """Ids of the code cells with an answer or its check, of the first one, and of all that define a name for them."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    names = [names_of(cell.source) for cell in cells]
    wanted = [number for number, cell in enumerate(cells) if _is_answer(cell)]
    found, waiting = set(), [*wanted, *([0] if wanted else [])]  # the first cell chooses seed and profile
    while waiting:
        number = waiting.pop()
        if number not in found:
            found.add(number)
            waiting += _sources(number, names)
    return {cells[number].id for number in found}


def names_of(source: str) -> tuple[set[str], set[str]]:
    """The names that a cell binds in the notebook, and those that it reads from other cells (or builtins)."""
    code = compile(source, "cell", "exec")
    bound, read = set(), set()
    for step in dis.get_instructions(code):
        if step.opname in ("STORE_NAME", "STORE_GLOBAL"):
            bound.add(step.argval)
        elif step.opname == "LOAD_NAME" and step.argval not in bound:
            read.add(step.argval)
    return bound, read | (set(_read_inside(code)) - bound)


def _read_inside(code: CodeType) -> Iterator[str]:
    """Global names that the functions, classes and comprehensions of ``code`` read."""
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            steps = dis.get_instructions(inner)
            yield from (step.argval for step in steps if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"))
            yield from _read_inside(inner)


def _is_answer(cell: NotebookNode) -> bool:
    return CHECK in cell.source or "solution" in cell.metadata.get("tags", [])


def _sources(number: int, names: list[tuple[set[str], set[str]]]) -> Iterator[int]:
    """For each name that a cell reads, the number of the last cell before it that binds the name, if one does."""
    for name in names[number][1]:
        before = (earlier for earlier in reversed(range(number)) if name in names[earlier][0])
        yield from islice(before, 1)
