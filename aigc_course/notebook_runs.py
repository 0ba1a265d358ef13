"""Running a notebook's cells and cleaning what they leave behind; ``notebooks`` decides which notebook that is.

The kernel is the Python that runs this, started in the folder ``chapters/``, whatever kernels the machine has
installed. Cleaned outputs hold no absolute path, no widget state, no time and no chatter of a framework, so that two
builds of the same source differ as little as the numbers do.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from nbformat import NotebookNode

from aigc_course import runtime
from aigc_course.runtime import CourseError

CELL_SECONDS = {"quick": 600, "class": 1200, "full": None}  # None: no limit
LANGUAGE = {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"}

Progress = Callable[[str, int, int], None]  # (notebook, code cells done, code cells in all)


def execute(
    notebook: NotebookNode,
    *,
    name: str = "notebook",
    where: Callable[[NotebookNode], str] | None = None,
    answers: bool = False,
    timeout: float | None = None,
    progress: Progress | None = None,
) -> NotebookNode:
    """Run all cells of ``notebook`` in place, in the folder ``chapters/``, with the Python that runs this.

    Args:
        notebook: changed in place; cells that did not run have no execution count.
        name: how to call the notebook in messages.
        where: says for a cell which line of which source it comes from; used when the cell fails.
        answers: True for the edition with answers, where an exercise that is not solved is a fault.
        timeout: seconds for one cell; None takes the active profile's (``CELL_SECONDS``).
        progress: called with ``(name, code cells done, code cells in all)``.

    Raises:
        CourseError: a cell failed, took too long, or the kernel died; says which cell, and where in the source.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    at = _Position(notebook, name, where or (lambda cell: cell.id), progress or (lambda *_: None))
    client = NotebookClient(
        notebook,
        km=_kernel_manager(),
        timeout=timeout or CELL_SECONDS[runtime.profile()],
        resources={"metadata": {"path": str(runtime.course_root() / "chapters")}},
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        on_cell_execute=at.started,
        on_cell_executed=at.finished,
    )
    client.owns_km = True  # so that the kernel ends with the run
    try:
        client.execute(env=environment(answers), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except CellExecutionError as error:
        raise at.fault(f"{error.ename}: {error.evalue}") from None
    except CellTimeoutError:
        raise at.fault("it took longer than allowed and was stopped.") from None
    except DeadKernelError:
        raise at.fault("the kernel died, most often because memory ran out.") from None
    return notebook


class _Position:
    """Where an execution stands: told by the client, asked when a cell fails."""

    def __init__(self, notebook, name: str, where: Callable[[NotebookNode], str], progress: Progress):
        self.name, self.where, self.progress = name, where, progress
        self.total = sum(cell.cell_type == "code" for cell in notebook.cells)
        self.done, self.index, self.cell = 0, 0, None

    def started(self, cell, cell_index):
        self.cell, self.index = cell, cell_index

    def finished(self, execute_reply, **_):
        if execute_reply["content"]["status"] == "ok":
            self.done += 1
            self.progress(self.name, self.done, self.total)

    def fault(self, what: str) -> CourseError:
        if self.cell is None:
            return CourseError(f"{self.name} could not be started: {what}")
        return CourseError(f"{self.name} fails in cell {self.index + 1} ({self.where(self.cell)}): {what}")


def _kernel_manager():
    """A manager whose kernel is the running interpreter, whatever kernels are installed on the machine."""
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager

    class RunningInterpreter(KernelSpecManager):
        def get_kernel_spec(self, kernel_name):
            return KernelSpec(**get_kernel_dict())

    return AsyncKernelManager(kernel_name="python3", kernel_spec_manager=RunningInterpreter())


def environment(answers: bool) -> dict[str, str]:
    """The kernel's environment: the reader's own, with the backend said aloud and answers demanded where they are."""
    kept = {name: value for name, value in os.environ.items() if name != "AIGC_SOLUTIONS"}
    return kept | {"KERAS_BACKEND": backend(), "PYTHONHASHSEED": "0"} | ({"AIGC_SOLUTIONS": "1"} if answers else {})


def backend() -> str:
    """The Keras backend that a kernel started here will use."""
    return os.environ.get("KERAS_BACKEND") or "tensorflow"


# Outputs

NOISE = re.compile(
    r"""^(?: \d{4}-\d\d-\d\d\ \d\d:\d\d:\d\d\.\d+:\ [IWE]\ \S+:\d+\]   # TensorFlow's C++ log
          | [IWE]\d{4}\ \d\d:\d\d:\d\d\.\d+\s+\d+\ \S+:\d+\]           # absl's C++ log
          | WARNING:\ All\ log\ messages\ before\ absl
          | To\ enable\ the\ following\ instructions:
          | WARNING:\d*:?jax\._src\.xla_bridge
        ).*\n?""",
    re.X | re.M,
)
WIDGET = "application/vnd.jupyter.widget-view+json"


def clean(notebook: NotebookNode) -> NotebookNode:
    """Take out of all outputs, in place, what depends on the machine or the hour and teaches nothing."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata.language_info = dict(LANGUAGE)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(_cleaned, cell.outputs) if output is not None]
    return notebook


def _cleaned(output: NotebookNode) -> NotebookNode | None:
    """One output without machine paths, framework chatter or a dead widget; None if nothing is left."""
    if output.output_type == "stream":
        output.text = _without_paths(NOISE.sub("", output.text) if output.name == "stderr" else output.text)
        return output if output.text.strip() else None
    if "data" in output:
        if WIDGET in output.data and {"image/png", "text/html"} & set(output.data):
            del output.data[WIDGET]  # its model is gone; the picture beside it stays
        for kind, value in output.data.items():
            if isinstance(value, str) and kind.startswith("text/"):
                output.data[kind] = _without_paths(value)
    return output


def _without_paths(text: str) -> str:
    """``text`` with the course's folder as ``.``, the environment as ``./.venv`` and the home folder as ``~``."""
    places = {str(runtime.course_root()): ".", sys.prefix: "./.venv", str(Path.home()): "~"}
    for place, short in places.items():
        if len(Path(place).parts) > 1:
            text = re.sub(rf"(?<![\w.~-]){re.escape(place)}(?![\w.-])", short, text)
    return text


def output_faults(notebook: NotebookNode) -> list[str]:
    """What must not stand in a built notebook's outputs: one line for each finding."""
    return [
        f"cell {index + 1}: {fault}"
        for index, cell in enumerate(notebook.cells)
        if cell.cell_type == "code"
        for output in cell.outputs
        for fault in _faults_of(output)
    ]


def _faults_of(output) -> list[str]:
    faults = []
    if output.output_type == "error":
        faults.append(f"it ended with {output.ename}: {output.evalue}")
    if output.output_type == "stream" and output.name == "stderr":
        faults.append(f"it wrote to stderr; mend the cause or print it on purpose: {output.text.strip()[:300]}")
    data = output.get("data", {})
    if WIDGET in data:
        faults.append("a widget without a picture beside it; show it through widgets.explore")
    texts = [output.get("text", ""), *(str(value) for kind, value in data.items() if kind.startswith("text/"))]
    if any(re.search(r"\bat 0x[0-9a-fA-F]{6,}", text) for text in texts):
        faults.append("a memory address, which differs in every run; print something that says more")
    return faults
