"""Set the course up once, then run its commands. Needs nothing but Python.

    python3 course.py lab             open the course in JupyterLab
    python3 course.py test            run everything that the course's CI runs
    python3 course.py setup [EXTRA]   only set up; EXTRA adds `gpu` (Linux with an NVIDIA card), `torch` or
                                      `music` (Verovio, for scores)
    python3 course.py --help          all commands

The first call makes the folder .venv beside this file and installs the course into it; later calls start at once. An
interrupted set-up is repaired by the next call, and a changed pyproject.toml or constraints.txt is installed by it.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
MARKER = VENV / "aigc-course.txt"  # "unfinished", or the fingerprint and the extras of a finished set-up
LOG = VENV / "install.log"
PYTHONS = ((3, 11), (3, 12), (3, 13))
EXTRAS = ("gpu", "jax", "torch", "music")
DISK_GB = 4.5

# What a failed installation prints, and the remedy; the first that fits is told.
REMEDIES = (
    (
        r"no space left|errno 28|not enough space",
        "The disk is full: free about {disk:.1f} GB and run the same command again.",
    ),
    (
        r"name resolution|name or service|getaddrinfo|dns error|network is unreachable|"
        r"connection (refused|reset|error)|newconnectionerror|timed? ?out|proxy|error sending request|"
        r"failed to fetch|certificate",
        "The packages could not be downloaded: connect to the internet, or set HTTPS_PROXY if you are behind a proxy, "
        "and run the same command again; finished downloads are kept.",
    ),
    (
        r"no matching distribution|no solution found|not a supported wheel",
        "A package has no build for this system: use a 64-bit Python 3.11 to 3.13 on Linux, Windows or a Mac with "
        "Apple silicon (the details are in {log}).",
    ),
)
OTHER_FAILURE = "The installation failed: run the same command again, and if it fails again report the end of {log}."


def stop(sentence):
    """End with exit code 2 and one sentence that says what happened and what to do."""
    print(sentence, file=sys.stderr)
    sys.exit(2)


def check_python(arguments):
    """Stop unless this Python is one that the course is tested with."""
    if sys.version_info[:2] in PYTHONS:
        return
    wanted = [name for name in ("python3.12", "python3.13", "python3.11") if runs(name)]
    remedy = "run" if wanted else "install 3.12 from python.org, then run"
    command = wanted[0] if wanted else "py -3.12" if os.name == "nt" else "python3.12"
    stop(
        "The course needs Python 3.11, 3.12 or 3.13, and this is {}.{}: {} `{}`.".format(
            *sys.version_info[:2], remedy, " ".join([command, "course.py", *arguments])
        )
    )


def runs(name):
    """Whether a program of this name is there and starts."""
    path = shutil.which(name)
    return bool(path) and subprocess.call([path, "-c", ""], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0


def check_disk():
    """Stop where a set-up from nothing would fill the disk."""
    free = shutil.disk_usage(str(ROOT)).free / 1e9
    if free < DISK_GB:
        stop(
            f"The course needs about {DISK_GB:.1f} GB of disk space and {free:.1f} GB are free on the disk of {ROOT}: "
            "free some and run the same command again."
        )


def fingerprint():
    """Changes when the dependencies change, and when the folder moves (an environment cannot be moved)."""
    parts = [(ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    return hashlib.sha256(b"\0".join([str(ROOT).encode(), *parts])).hexdigest()


def read_marker():
    """The marker's words: none where there is no environment of ours."""
    if not MARKER.exists():
        return []
    return MARKER.read_text(encoding="utf-8").split() if PYTHON.exists() else ["unfinished"]


def set_up(extras, arguments):
    """Make .venv what pyproject.toml and constraints.txt ask for; do nothing if it is so already."""
    known = read_marker()
    extras = sorted({"dev", *extras, *known[1:]})
    if known == [fingerprint(), *extras]:
        return
    check_python(arguments)
    if known == ["unfinished"]:
        print("An earlier set-up was not finished: starting it again.", flush=True)
        shutil.rmtree(str(VENV))
    if not VENV.exists():
        check_disk()
    uv = shutil.which("uv")
    print(
        "Setting up the course in .venv with {}, this once: about 0.9 GB to download, 2 to 10 minutes.".format(
            "uv" if uv else "pip"
        ),
        flush=True,
    )
    VENV.mkdir(exist_ok=True)
    MARKER.write_text("unfinished", encoding="utf-8")
    make_environment(uv)
    installer = [uv, "pip", "install", "--python", str(PYTHON)] if uv else [str(PYTHON), "-m", "pip", "install"]
    install([*installer, "-c", "constraints.txt", "-e", ".[{}]".format(",".join(extras))])
    MARKER.write_text(" ".join([fingerprint(), *extras]), encoding="utf-8")
    print("The course is set up.", flush=True)


def make_environment(uv):
    """An environment for this Python in .venv, over what is there."""
    if uv:
        return install([uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(VENV)])
    try:
        import ensurepip  # noqa: F401  (Debian ships it apart from Python)
        import venv  # noqa: F401
    except ImportError:
        stop(
            "This Python cannot make environments: run `sudo apt install python3-venv` (Debian, Ubuntu), or "
            "install uv, and run the same command again."
        )
    return install([sys.executable, "-m", "venv", str(VENV)])


def install(command):
    """Run ``command``, show its main steps, keep all it prints in LOG; stop with the remedy if it fails."""
    environment = dict(os.environ, PYTHONUNBUFFERED="1", PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_RETRIES="2")
    with open(str(LOG), "a", encoding="utf-8") as log:
        printed = []
        process = subprocess.Popen(
            command,
            cwd=str(ROOT),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        try:
            for line in process.stdout:
                log.write(line)
                printed.append(line)
                if re.match(r"\s*(Downloading .*[MG]i?B\)|Installing collected|Resolved|Prepared|Installed) ?", line):
                    print("  " + line.strip()[:100], flush=True)
            code = process.wait()
        finally:
            process.kill()  # after an interruption nothing must go on behind our back
    if code != 0:
        sentences = [remedy for pattern, remedy in REMEDIES if re.search(pattern, "".join(printed), re.IGNORECASE)]
        stop([*sentences, OTHER_FAILURE][0].format(disk=DISK_GB, log=LOG))


def hand_over(arguments):
    """Let the environment's ``aigc-course`` take the arguments; on Windows return its exit code."""
    command = [str(PYTHON), "-m", "aigc_course", *arguments]
    if os.name != "nt":
        sys.stdout.flush()
        os.execv(command[0], command)
    return subprocess.call(command)


def main(arguments):
    """Set up if need be, then do what ``arguments`` say."""
    only_set_up = arguments[:1] == ["setup"]
    extras = arguments[1:] if only_set_up else []
    unknown = sorted(set(extras) - set(EXTRAS))
    if unknown:
        stop("There is no extra called {}: choose from {}.".format(unknown[0], ", ".join(EXTRAS)))
    try:
        set_up(extras, arguments)
        return 0 if only_set_up else hand_over(arguments)
    except OSError as error:
        return stop(f"The set-up could not go on ({error}): see that {VENV} can be written and run the command again.")
    except KeyboardInterrupt:
        print("\nInterrupted: run the same command again to go on.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
