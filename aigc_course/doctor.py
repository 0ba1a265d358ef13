"""``aigc-course doctor``: what this machine has, whether data and weights are whole, and what is missing."""

import json
import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from aigc_course import runtime
from aigc_course.runtime import CourseError, course_root

LITTLE_MEMORY_GIB = 4
LITTLE_DISK_GB = 1


@dataclass(frozen=True)
class Finding:
    """One line of the report; ``fault`` says what is wrong and what to do, empty if all is well."""

    name: str
    text: str
    fault: str = ""


def report() -> int:
    """Print what was found and return the exit code: 0 if all is well, 1 if something is missing or damaged."""
    findings = []
    for examine in (machine, packages, backend, files, checkpoints, notebooks):
        try:
            found = examine()
        except CourseError as error:
            found = [Finding(examine.__name__.capitalize(), "cannot be examined", str(error))]
        except Exception as error:  # a broken installation can fail anywhere, and the report must go on
            found = [Finding(examine.__name__.capitalize(), "cannot be examined", f"{type(error).__name__}: {error}")]
        for finding in found:
            print(f"{'✗' if finding.fault else '✓'} {finding.name:10} {finding.text}", flush=True)
        findings += found
    faults = [finding.fault for finding in findings if finding.fault]
    print("\nAll is well." if not faults else "\nWhat to do:")
    for fault in faults:
        print(f"- {fault}")
    return 1 if faults else 0


def machine() -> list[Finding]:
    """Python, operating system, memory and free disk."""
    memory, free = runtime.memory_gib(), shutil.disk_usage(course_root()).free / 1e9
    little_memory = memory is not None and memory < LITTLE_MEMORY_GIB
    return [
        Finding("Python", f"{platform.python_version()} in {sys.prefix}"),
        Finding("System", f"{platform.system()} {platform.release()}, {platform.machine()}, {runtime.cores()} cores"),
        Finding(
            "Memory",
            "not known" if memory is None else f"{memory:.1f} GiB",
            f"Memory is below {LITTLE_MEMORY_GIB} GiB: close other programs before training." if little_memory else "",
        ),
        Finding(
            "Disk",
            f"{free:.1f} GB free",
            f"Less than {LITTLE_DISK_GB} GB of disk is free: free some." if free < LITTLE_DISK_GB else "",
        ),
    ]


def packages() -> list[Finding]:
    """Whether every package that the course needs is installed."""
    needed = [line for line in metadata.requires("aigc-course") or [] if "extra ==" not in line]
    names = [re.match(r"[\w.-]+", line)[0] for line in needed]
    missing = [name for name in names if not _installed(name)]
    fault = f"Missing packages: {', '.join(missing)}; run `python3 course.py setup`." if missing else ""
    return [Finding("Packages", f"{len(names) - len(missing)} of {len(names)} installed", fault)]


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def backend() -> list[Finding]:
    """Keras, its backend, the device that it computes on, and the profile."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    keras = f"{metadata.version('keras')} on {runtime.backend()} {runtime.backend_version()}"
    device = runtime.accelerator() or "CPU (no GPU seen; every chapter is made for two CPU cores)"
    return [Finding("Keras", keras), Finding("Device", device), Finding("Profile", runtime.profile())]


def files() -> list[Finding]:
    """Every file in ``data/`` that has a card, compared with the card's checksum."""
    from aigc_course.datasets.files import checked

    findings = []
    for path in sorted((course_root() / "data").rglob("*.json")):
        card = _card(path)
        name = path.relative_to(course_root() / "data").with_suffix("").as_posix()
        if card is None:
            fault = f"data/{name}.json is damaged; restore it with `git checkout data`."
            findings.append(Finding("Data", f"{name}: its card cannot be read", fault))
        elif "file" in card and "sha256" in card:
            try:
                size = checked(path.with_name(card["file"]), card["sha256"]).stat().st_size / 1e6
                findings.append(Finding("Data", f"{name}: {size:.1f} MB, checksum {card['sha256'][:12]}… agrees"))
            except CourseError as error:
                findings.append(Finding("Data", f"{name}: missing or damaged", str(error)))
    return findings or [Finding("Data", "none", "data/ holds no data sets; restore it with `git checkout data`.")]


def _card(path: Path) -> dict | None:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return card if isinstance(card, dict) else None


def checkpoints() -> list[Finding]:
    """Whether each recipe has its shipped weights (their checksums stand with the data)."""
    from aigc_course.checkpoints import names
    from aigc_course.recipes import RECIPES

    missing = [name for name in RECIPES if name not in names()]
    fault = f"No weights for {', '.join(missing)}; restore data/ or run `aigc-course train NAME`." if missing else ""
    return [Finding("Weights", f"{len(RECIPES) - len(missing)} of {len(RECIPES)} networks have theirs", fault)]


def notebooks() -> list[Finding]:
    """Whether the notebooks match their sources."""
    from aigc_course.notebooks import chapters, stale

    old = stale()
    fault = "; ".join(str(notebook) for notebook in old) + "; run `aigc-course build`." if old else ""
    return [Finding("Notebooks", f"{len(chapters())} chapters, {len(old)} notebooks out of date", fault)]
