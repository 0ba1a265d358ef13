"""Backend, device, profile and seed: what a chapter must know about the machine before it starts.

Profiles: ``quick`` (CI, every chapter under 90 s on two cores), ``class`` (default, about two minutes of live
training, then the shipped weights) and ``full`` (longer training of the same models). A chapter reads its sizes with
``sizes`` and never asks for the profile's name.   Taught in chapters/00_start_here.
"""

import contextlib
import os
import platform
import tomllib
from dataclasses import dataclass
from functools import cache
from numbers import Integral
from pathlib import Path
from types import SimpleNamespace

PROFILES = ("quick", "class", "full")
BACKENDS = ("tensorflow", "jax", "torch")


class CourseError(Exception):
    """A problem that the reader can mend; the message is one sentence that says what happened and what to do."""


@dataclass(frozen=True)
class Runtime:
    """What this session runs on; its text form is the line that opens every chapter."""

    backend: str
    backend_version: str
    device: str
    cores: int
    profile: str
    seed: int

    def __str__(self):
        return (
            f"Keras on {self.backend} {self.backend_version} · {self.device} · {self.cores} cores · "
            f"profile {self.profile} · seed {self.seed}"
        )


def course_root() -> Path:
    """Folder with ``chapters/`` and ``data/``: the checkout that the package was installed from."""
    root = Path(__file__).resolve().parents[1]
    if not (root / "chapters").is_dir() or not (root / "data").is_dir():
        raise CourseError(
            f"The course's chapters/ and data/ are not beside the package in {root}; "
            "install from a checkout with `pip install -e .`."
        )
    return root


def data_path(name: str) -> Path:
    """Path of a file in ``data/``, whether or not it exists."""
    return course_root() / "data" / name


def write_whole(contents: dict[Path, bytes]):
    """Write files beside their places and rename them when all are complete: nobody sees half of one.

    Raises:
        OSError: what the system says; no file was changed, or where a renaming failed only those before it.
    """
    parts = {path: path.with_name(f".{path.name}.part") for path in contents}
    try:
        for path, part in parts.items():
            part.write_bytes(contents[path])
        for path, part in parts.items():
            os.replace(part, path)
    finally:
        for part in parts.values():
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


def is_whole(value) -> bool:
    """Whether this is a whole number, of Python or NumPy; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def profile() -> str:
    """The active profile: ``quick``, ``class`` or ``full`` from ``AIGC_PROFILE``."""
    name = os.environ.get("AIGC_PROFILE") or "class"
    if name not in PROFILES:
        raise CourseError(f"AIGC_PROFILE is {name!r}; choose one of {', '.join(PROFILES)}.")
    return name


@cache
def _profiles() -> dict:
    return tomllib.loads((course_root() / "chapters" / "profiles.toml").read_text(encoding="utf-8"))


def sizes(chapter: str) -> SimpleNamespace:
    """Sizes of ``chapter`` (such as ``"03_gan_images"``) for the active profile, from ``chapters/profiles.toml``."""
    table = _profiles().get(chapter)
    if table is None:
        raise CourseError(f"No sizes for {chapter!r} in chapters/profiles.toml; known: {', '.join(_profiles())}.")
    shared = {key: value for key, value in table.items() if key not in PROFILES}
    return SimpleNamespace(**shared, **table.get(profile(), {}))


@contextlib.contextmanager
def _quiet_stderr():
    """Silence the lines that TensorFlow's C++ code prints before it reads its own log level; exceptions still pass."""
    saved, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)


def backend() -> str:
    """Name of the Keras backend in use: ``tensorflow``, ``jax`` or ``torch``."""
    with _quiet_stderr():
        import keras

    return keras.backend.backend()


def backend_version() -> str:
    """Version of the backend's own package."""
    from importlib.metadata import version

    return version(backend())


def accelerator() -> str | None:
    """Name of the first GPU that the backend would use, or None when it computes on the CPU."""
    match backend():
        case "tensorflow":
            import tensorflow as tf

            with _quiet_stderr():
                found = tf.config.list_physical_devices("GPU")
            return tf.config.experimental.get_device_details(found[0]).get("device_name", "GPU") if found else None
        case "jax":
            import jax

            found = [device for device in jax.devices() if device.platform == "gpu"]
            return found[0].device_kind if found else None
        case "torch":
            import torch

            return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return None


def device() -> str:
    """The device in use, in words: a GPU's name, or ``CPU``."""
    return accelerator() or "CPU"


def memory_gib() -> float | None:
    """Memory of this machine in GiB, or None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return None


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def system() -> str:
    """Operating system and Python, in words."""
    return f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"


def setup(seed: int = 0) -> Runtime:
    """Seed Python, NumPy and the backend, and return what the session runs on.

    Args:
        seed: whole number of at least 0. The same seed on the same machine and backend gives the same numbers.
    """
    name = backend()
    import keras

    keras.utils.set_random_seed(seed)
    return Runtime(name, backend_version(), device(), cores(), profile(), seed)
