"""Run several contenders in turn, each in a process of its own, so that a noisy machine is noisy for all of them.

A contender is a module function without arguments that returns ``run``, a function that does the work once. Each
process warms up, then waits; the parent lets them run one after the other, round by round, and compares medians.
"""

import importlib
import importlib.util
import os
import statistics
import subprocess
import sys
import time


def measure(contenders: dict[str, tuple[str, dict]], rounds: int = 7) -> dict[str, float]:
    """Median seconds of each contender.

    Args:
        contenders: name -> ("package.module:function", environment variables).
        rounds: how often each one runs; at least 3.
    """
    workers = {name: _start(target, environment) for name, (target, environment) in contenders.items()}
    try:
        for worker in workers.values():
            _read(worker)
        times = {name: [] for name in workers}
        for _ in range(rounds):
            for name, worker in workers.items():
                worker.stdin.write("go\n")
                worker.stdin.flush()
                times[name].append(float(_read(worker)))
    finally:
        for worker in workers.values():
            worker.kill()
    return {name: statistics.median(values) for name, values in times.items()}


def compare_training(title: str, module: str, steps: int, rounds: int = 5):
    """Print milliseconds of a training step on each backend, and how many times faster it is than eager PyTorch's.

    Args:
        module: has the contenders ``keras_steps`` and ``torch_steps``, which make ``steps`` steps each.
    """
    contenders = {"PyTorch, eager": (f"{module}:torch_steps", {})}
    for backend in ("tensorflow", "jax", "torch"):
        contenders[f"aigc_course on {backend}"] = (f"{module}:keras_steps", {"KERAS_BACKEND": backend})
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed: its lines are left out (pip install torch).")
        contenders = {name: contender for name, contender in contenders.items() if "orch" not in name}
    if importlib.util.find_spec("jax") is None:
        contenders.pop("aigc_course on jax")
    seconds = measure(contenders, rounds)
    base = seconds.get("PyTorch, eager", float("nan"))
    print(f"{title:28} {'ms a step':>10} {'times faster than PyTorch eager':>33}")
    for name, value in seconds.items():
        print(f"{name:28} {value / steps * 1000:10.1f} {base / value:33.2f}")


def _start(target, environment):
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.side_by_side", target],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **environment},
    )


def _read(worker):
    """The rest of the worker's next line that starts with our mark; anything else it prints is passed over."""
    for line in worker.stdout:
        if line.startswith("side-by-side "):
            return line.removeprefix("side-by-side ").strip()
    raise RuntimeError(f"A contender ended with exit code {worker.wait()}; run it alone: {' '.join(worker.args[1:])}")


def _work(target):
    module, name = target.split(":")
    run = getattr(importlib.import_module(module), name)()
    for _ in range(2):
        run()
    print("side-by-side ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        print(f"side-by-side {time.perf_counter() - start}", flush=True)


if __name__ == "__main__":
    _work(sys.argv[1])
