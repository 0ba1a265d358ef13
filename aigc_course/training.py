"""Training with a live picture: loss curves on the left, current samples on the right, time left above.

``fit`` is ``model.fit`` with that picture, a fixed seed and, for long runs, a backup that survives a kill. The picture
costs one kernel message every two seconds and stays in the notebook; in a terminal plain lines take its place.

Shapes: N samples, H height, W width, C channels.   Taught in chapters/03_gan_images.
"""

import json
import os
import random
import time
from pathlib import Path

import keras
import numpy as np

from aigc_course import plots
from aigc_course.runtime import CourseError

_MOST_POINTS = 200
_HEIGHT = 340  # pixels of the live picture


class LiveDisplay(keras.callbacks.Callback):
    """Keras callback that shows one picture and brings it up to date while the model trains.

    Args:
        samples: function without arguments that returns images [N, H, W], [N, H, W, 1] or [N, H, W, 3] in [0, 1], or a
            Matplotlib figure, or None. It must use a fixed seed of its own: when it is called depends on the clock, and
            random numbers that it took from the training would make two runs differ.
        every_seconds: shortest time between two pictures; longer where a picture is slow, so that showing takes at most
            a tenth of the time. 0 shows every step.
        metrics: names of the curves to draw; by default all in Keras' logs.

    ``points`` holds the curves: name -> list of [epochs done, value]. Inside an epoch Keras reports the mean since its
    start; for metrics that are means the value drawn is the mean since the point before.
    """

    def __init__(self, samples=None, every_seconds=2.0, metrics=None):
        super().__init__()
        self.samples, self.every_seconds, self.chosen = samples, float(every_seconds), metrics
        self.points = {}
        self.updates = 0
        self._notebook = plots.in_notebook()
        self._handle = None
        self._restart()

    def _restart(self):
        self._epoch, self._batch, self._done, self._stride = 0, 0, 0, 1
        self._means, self._window, self._latest, self._note = set(), {}, {}, ""

    def on_train_begin(self, logs=None):
        self._restart()
        self._means = _mean_names(self.model)
        self._started = self._first_step = time.monotonic()
        self._next = self._started + (0 if self._notebook else 2.5 * self.every_seconds)
        self._show("compiling")

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        self._window = {}

    def on_train_batch_end(self, batch, logs=None):
        self._done += 1
        self._batch = batch + 1
        if self._done == 1:
            self._first_step = time.monotonic()
        if self._done % self._stride == 0 and not self._alone_at_the_end():
            steps = self.params.get("steps") or self._batch
            self._record(self._epoch + min(self._batch / max(steps, 1), 1.0), self._batch, logs)
        if time.monotonic() >= self._next:
            self._show(self._progress())

    def on_epoch_end(self, epoch, logs=None):
        for name, value in (logs or {}).items():
            if name.startswith("val_"):
                self._add(name, epoch + 1, value)

    def on_train_end(self, logs=None):
        self._show(f"done in {_duration(time.monotonic() - self._started)}", last=True)

    def _alone_at_the_end(self):
        """Whether the next point would be that of the last step only. Its batch may be smaller, which Keras' mean knows
        and this class does not: a tooth in the curve."""
        before = max((count for count, _ in self._window.values()), default=0)
        return self.params.get("steps") == self._batch == before + 1 > 1

    def _record(self, position, count, logs):
        """Add one point to each curve; ``count``: steps of this epoch so far."""
        for name, value in (logs or {}).items():
            value = float(value)
            if name in self._means:
                before, mean = self._window.get(name, (0, 0.0))
                self._window[name] = (count, value)
                value = (value * count - mean * before) / (count - before)
            self._add(name, position, value)
        if any(len(curve) > _MOST_POINTS for curve in self.points.values()):
            self.points = {name: _halved(curve) for name, curve in self.points.items()}
            self._stride *= 2

    def _add(self, name, position, value):
        if self.chosen is not None and name not in self.chosen:
            return
        self._latest[name] = float(value)
        self.points.setdefault(name, []).append([float(position), float(value)])

    def _progress(self):
        """Where the training is and how long it will take, in words."""
        epochs, steps = self.params.get("epochs"), self.params.get("steps")
        text = f"epoch {self._epoch + 1} of {epochs}" + (f", step {self._batch} of {steps}" if steps else "")
        if steps and epochs and self._done > 1:
            left = (epochs - self._epoch) * steps - self._batch
            pace = (time.monotonic() - self._first_step) / (self._done - 1)
            text += f", {_duration(left * pace)} left"
        return text

    def _show(self, progress, last=False):
        start = time.monotonic()
        if self._notebook:
            self._update(self._picture(progress, last))
        else:
            values = "  ".join(f"{name} {value:.4g}" for name, value in self._latest.items())
            print(f"{progress}  {values}".rstrip(), flush=True)
        self.updates += 1
        now = time.monotonic()
        pause = self.every_seconds if self._notebook else 2.5 * self.every_seconds
        self._next = now + (max(pause, 9 * (now - start)) if pause else 0)

    def _update(self, picture):
        if self._handle is None:
            from IPython.display import display

            self._handle = display(picture, display_id=True)
        else:
            self._handle.update(picture)

    def _picture(self, progress, last):
        """The ``plots.Picture`` of this moment."""
        right = self._samples_now()
        left = self._curves(progress, wide=right is None)
        page = left if right is None else _beside(left, right)
        lines = {name: np.array(curve).T for name, curve in self.points.items()}
        words = plots.describe_curves(lines, "epochs") if lines else "No curves yet."
        beside = "" if right is None else " Beside them current samples."
        return plots.Picture(
            plots.png(page, level=6 if last else 1), f"Training, {progress}. {words}{beside}{self._note}"
        )

    def _curves(self, progress, wide):
        """uint8 [H, W, 3]: the curves with the progress as their title."""
        figure, axes = plots.new_figure(7.2 if wide else 5.4, _HEIGHT / 100, layout=None)
        lines = {name: tuple(np.array(curve).T) for name, curve in self.points.items()}
        broken = [name for name, value in self._latest.items() if not np.isfinite(value)]
        self._note = f" {', '.join(broken)} is not a finite number: the training broke down." if broken else ""
        title = f"{broken[0]} is not finite: training broke down" if broken else progress
        plots.add_curves(axes, lines, xlabel="epochs", title=title)
        return plots.pixels(figure)

    def _samples_now(self):
        """uint8 [H, W] or [H, W, 3] of the current samples, or None; leaves NumPy's and Python's random state alone."""
        if self.samples is None:
            return None
        self.model  # noqa: B018  (on JAX reading it brings the weights up to date in the middle of an epoch)
        states = np.random.get_state(), random.getstate()
        try:
            images = self.samples()
        finally:
            np.random.set_state(states[0])
            random.setstate(states[1])
        if images is None:
            return None
        if hasattr(images, "savefig"):
            return plots.pixels(images)
        images = keras.ops.convert_to_numpy(images)
        if np.isnan(images).any():
            return np.full((_HEIGHT, _HEIGHT), 200, np.uint8)
        side = int(np.ceil(np.sqrt(len(images))))
        grid = plots.image_grid(images, columns=side)
        return plots.enlarge(grid, max(1, round(_HEIGHT / grid.shape[0])))


def warmed_up(peak, steps, warmup_steps):
    """Learning rate that rises from 0 to ``peak`` in ``warmup_steps`` and then falls along a cosine to a fiftieth."""
    return keras.optimizers.schedules.CosineDecay(
        0.0, max(steps - warmup_steps, 1), alpha=0.02, warmup_target=peak, warmup_steps=warmup_steps
    )


def fit(
    model,
    data,
    *,
    epochs,
    batch_size=64,
    samples=None,
    seed=0,
    validation_data=None,
    backup=None,
    callbacks=(),
    every_seconds=2.0,
    **options,
):
    """Train a compiled model with a live picture.

    Args:
        model: compiled Keras model.
        data: what ``model.fit`` takes: an array, a pair (x, y), a triple with sample weights, or a data set; x may be a
            tuple of arrays.
        epochs: passes over the data, those before an interruption included.
        batch_size: rows a step; left out for a data set, which brings its own batches.
        samples, every_seconds: see ``LiveDisplay``.
        seed: seeds Python, NumPy and the backend first; None leaves them alone.
        validation_data: as in ``model.fit``.
        backup: folder for long runs. After each epoch weights, optimiser and history are written there; the same call
            after an interruption goes on with the next epoch. Emptied when the training is complete.
        callbacks, options: passed on to ``model.fit``.

    Returns:
        ``keras.callbacks.History`` whose ``history`` covers all epochs, those before an interruption included.

    Raises:
        CourseError: the backup belongs to another model or cannot be read.
    """
    display = LiveDisplay(samples, every_seconds)
    saved = Backup(backup, display) if backup else None
    start = min(saved.epoch, epochs) if saved else 0
    if seed is not None:
        keras.utils.set_random_seed(seed + start)
    inputs = data if isinstance(data, tuple) else (data,)
    if hasattr(keras.tree.flatten(inputs)[0], "shape"):
        options["batch_size"] = batch_size
    watchers = [*callbacks, *([saved] if saved else []), display]
    try:
        history = model.fit(
            *inputs,
            epochs=epochs,
            initial_epoch=start,
            validation_data=validation_data,
            callbacks=watchers,
            verbose=0,
            **options,
        )
    except KeyboardInterrupt:
        if saved:
            print(f"Interrupted; {saved.epoch} of {epochs} epochs are kept. Run this again to go on from there.")
        raise
    if saved:
        history.history = saved.history
        history.epoch = list(range(saved.epoch))
        saved.clear()
    return history


class Backup(keras.callbacks.Callback):
    """Callback that keeps the last complete epoch on disk, so that a training survives a kill at any moment.

    Keras' ``BackupAndRestore`` writes over the only copy and forgets the history. Here new weights are written beside
    the old ones, then ``state.json`` is replaced in one step to name them, and only then the old ones go.

    ``epoch``: epochs done.   ``history``: name -> one value for each of them.
    """

    def __init__(self, folder, display):
        super().__init__()
        self.folder, self.display = Path(folder), display
        self.epoch, self.history, self._weights = 0, {}, None
        self._read()

    def on_train_begin(self, logs=None):
        model = self.model
        if self._weights is None:
            return
        if model.optimizer is not None and not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        try:
            model.load_weights(self.folder / self._weights)
        except (OSError, ValueError, KeyError) as error:
            raise CourseError(
                f"The backup in {self.folder} does not fit this model or is damaged; delete that folder to begin anew."
            ) from error

    def on_epoch_end(self, epoch, logs=None):
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        self.epoch = epoch + 1
        self.folder.mkdir(parents=True, exist_ok=True)
        before, self._weights = self._weights, f"epoch-{self.epoch:04d}.weights.h5"
        self.model.save_weights(self.folder / self._weights)
        state = {"epoch": self.epoch, "weights": self._weights, "history": self.history, "points": self.display.points}
        beside = self.folder / "state.json.new"
        beside.write_text(json.dumps(state), encoding="utf-8")
        os.replace(beside, self.folder / "state.json")
        if before and before != self._weights:
            (self.folder / before).unlink(missing_ok=True)

    def clear(self):
        """Delete what this backup wrote, and its folder if nothing else is in it."""
        for path in [*self.folder.glob("epoch-*.weights.h5"), *self.folder.glob("state.json*")]:
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _read(self):
        path = self.folder / "state.json"
        if not path.exists():
            return
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            self.epoch, self.history, self._weights = int(state["epoch"]), state["history"], str(state["weights"])
            self.display.points = state["points"]
        except (ValueError, KeyError, TypeError) as error:
            raise CourseError(f"{path} is damaged ({error}); delete its folder to begin anew.") from error


def _mean_names(model):
    """Names of the metrics that are means over the steps of an epoch."""
    found, queue = set(), list(model.metrics)
    while queue:
        metric = queue.pop()
        queue.extend(getattr(metric, "metrics", None) or [])
        if type(metric) is keras.metrics.Mean or isinstance(metric, keras.metrics.MeanMetricWrapper):
            found.add(metric.name)
    return found


def _halved(curve):
    """Neighbouring points [T, 2] averaged in pairs, where there are many."""
    if len(curve) <= _MOST_POINTS // 2:
        return curve
    return np.mean(np.reshape(curve[: len(curve) // 2 * 2], (-1, 2, 2)), axis=1).tolist()


def _beside(left, right):
    """Two uint8 pictures side by side on white, centred vertically: [H, W, 3]."""
    right = np.repeat(right[..., None], 3, axis=-1) if right.ndim == 2 else right
    height = max(len(left), len(right))
    page = np.full((height, left.shape[1] + 16 + right.shape[1] + 8, 3), 255, np.uint8)
    for picture, start in ((left, 0), (right, left.shape[1] + 16)):
        top = (height - len(picture)) // 2
        page[top : top + len(picture), start : start + picture.shape[1]] = picture
    return page


def _duration(seconds):
    """Seconds in words: ``45 s``, ``3 min 20 s``, ``2 h 05 min``."""
    seconds = round(max(seconds, 0))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
