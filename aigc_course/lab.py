"""JupyterLab on the course: this machine only, with its token, and without the news pop-up."""

import json
import os
import socket
import sys
import tempfile
from pathlib import Path

from aigc_course.runtime import CourseError, course_root

FIRST = "chapters/00_start_here.ipynb"
PORTS = range(8888, 8988)
QUIET = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}


def start(port: int | None = None, browser: bool = True):
    """Run JupyterLab until the reader stops it.

    Args:
        port: port to listen on; None takes the first free one from 8888.
        browser: open a browser window on the first chapter.

    Raises:
        CourseError: the first chapter is missing, or the port is in use.
    """
    root = course_root()
    if not (root / FIRST).exists():
        raise CourseError(
            f"{FIRST} is missing; restore it with `git checkout chapters` or make it with `aigc-course build 0`."
        )
    port = choose_port(port)
    print(f"JupyterLab opens {FIRST}; its address stands below. Press Ctrl-C here to stop it.", flush=True)
    with tempfile.TemporaryDirectory(prefix="aigc-course-") as folder:
        prepare_environment(Path(folder))
        launch(arguments(root, port, browser))


def choose_port(port: int | None = None) -> int:
    """``port`` if it is free, the first free one from 8888 if it is None."""
    for candidate in PORTS if port is None else [port]:
        if is_free(candidate):
            return candidate
    if port is None:
        raise CourseError(f"The ports {PORTS[0]} to {PORTS[-1]} are all in use; choose another with --port.")
    raise CourseError(f"Port {port} is in use or not allowed; choose another with --port, or leave --port out.")


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of this machine."""
    with socket.socket() as probe:
        if os.name != "nt":  # on Windows this option would allow a port that is in use
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def prepare_environment(folder: Path):
    """Turn the news pop-up off in ``folder``, and let the kernel be the Python of this environment."""
    settings = folder / "labconfig" / "page_config.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps(QUIET), encoding="utf-8")
    paths = [str(folder), os.environ.get("JUPYTER_CONFIG_PATH")]
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(path for path in paths if path)
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"


def arguments(root: Path, port: int, browser: bool) -> list[str]:
    """Command-line arguments for JupyterLab."""
    given = [
        f"--ServerApp.root_dir={root}",
        f"--LabApp.default_url=/lab/tree/{FIRST}",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
    ]
    if not browser:
        given.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        given.append("--allow-root")  # in a container; the server answers this machine alone
    return given


def launch(given: list[str]):
    """Hand the process over to JupyterLab."""
    from jupyterlab.labapp import LabApp

    sys.argv[0] = "jupyter-lab"
    LabApp.launch_instance(given)
