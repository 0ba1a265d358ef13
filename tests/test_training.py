"""The live display and ``fit``: few messages, a last picture, the same numbers without it, and a kill survived."""

import json
import re
import subprocess
import sys
import textwrap
import time

import keras
import numpy as np
import pytest

from aigc_course import plots, training
from aigc_course.runtime import CourseError


def make_model(seed=3):
    keras.utils.set_random_seed(seed)
    layers = [keras.Input((5,)), keras.layers.Dense(7, "relu"), keras.layers.Dropout(0.2), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    model.compile("adam", "mse", metrics=["mae"])
    return model


def make_data(count=96):
    x = np.random.default_rng(0).normal(size=(count, 5)).astype("float32")
    return x, x.sum(axis=1, keepdims=True)


def pictures(display):
    """Make ``display`` believe in a notebook and collect its pictures."""
    shown = []
    display._notebook, display._update = True, shown.append
    return shown


def run(display, epochs=3, **options):
    make_model().fit(*make_data(), batch_size=16, epochs=epochs, verbose=0, callbacks=[display], **options)


def test_pictures_show_curves_samples_and_progress():
    display = training.LiveDisplay(samples=lambda: np.full((10, 28, 28, 1), 0.5), every_seconds=0)
    shown = pictures(display)
    run(display, validation_data=make_data(16))
    assert "compiling" in shown[0].alt and "No curves yet" in shown[0].alt
    assert re.search(r"epoch 2 of 3, step 3 of 6, \d+ s left", " ".join(picture.alt for picture in shown))
    last = shown[-1].alt
    assert "done in" in last and "loss from" in last and "val_mae from" in last and "current samples" in last
    assert shown[-1].size[0] > plots.Picture(plots.png(display._curves("x", wide=False)), "").size[0]
    assert [len(display.points[name]) for name in ("loss", "mae", "val_loss")] == [15, 15, 3]
    assert display.points["val_loss"][-1][0] == 3


def test_points_are_means_since_the_point_before():
    """Batches of loss 1, 2, 3, 4: Keras reports 1, 1.5, 2, 2.5."""
    display = training.LiveDisplay()
    display._means = {"loss"}
    for count, (mean, rate) in enumerate([(1, 9), (1.5, 8), (2, 7), (2.5, 6)], start=1):
        display._record(count / 4, count, {"loss": mean, "rate": rate})
    assert display.points["loss"] == [[0.25, 1], [0.5, 2], [0.75, 3], [1, 4]]
    assert [value for _, value in display.points["rate"]] == [9, 8, 7, 6]


def test_a_smaller_last_batch_makes_no_tooth():
    """Losses 3, 2, 1 of batches of 4, 4 and 1: Keras' last mean, 21/9, knows of the sizes; the point would be 2."""
    display = training.LiveDisplay()
    display.set_params({"epochs": 1, "steps": 3})
    display._means, display._next = {"loss"}, np.inf
    for batch, mean in enumerate([3, 2.5, 21 / 9]):
        display.on_train_batch_end(batch, {"loss": mean})
    assert display.points["loss"] == [[1 / 3, 3], [2 / 3, 2]]


def test_steps_that_nobody_counted_are_all_drawn():
    """Data without a length: no step is known to be the last."""
    display = training.LiveDisplay()
    display.set_params({"epochs": 1, "steps": None})
    display._means, display._next = {"loss"}, np.inf
    for batch, mean in enumerate([3, 2.5, 2]):
        display.on_train_batch_end(batch, {"loss": mean})
    assert [value for _, value in display.points["loss"]] == [3, 2, 1]


def test_means_are_known_by_their_metric():
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae", keras.metrics.RootMeanSquaredError(name="rmse")])
    model.fit(*make_data(), verbose=0)
    assert training._mean_names(model) == {"loss", "mae"}


def test_a_long_training_keeps_few_points():
    display = training.LiveDisplay()
    for step in range(1, 5001):
        if step % display._stride == 0:
            display._record(step / 5000, step, {"loss": step})
    curve = np.array(display.points["loss"])
    assert 90 <= len(curve) <= training._MOST_POINTS
    assert np.allclose(curve[:, 1], curve[:, 0] * 5000)


def test_pictures_come_no_faster_than_asked_and_cost_at_most_a_tenth():
    display = training.LiveDisplay(samples=lambda: time.sleep(0.05), every_seconds=0.3)
    shown = pictures(display)
    started = time.monotonic()
    run(display, epochs=8)
    assert len(shown) <= 3 + (time.monotonic() - started) / 0.3
    assert display.updates == len(shown)
    assert display._next - time.monotonic() > 0.3


def test_no_front_end_gives_plain_lines(capsys):
    run(training.LiveDisplay(every_seconds=0))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "compiling"
    assert re.fullmatch(r"epoch 2 of 3, step 3 of 6, \d+ s left  loss [\d.]+  mae [\d.]+", lines[9])
    assert lines[-1].startswith("done in")


def test_showing_does_not_change_the_training():
    def samples():
        np.random.rand(3)
        return np.zeros((1, 2, 2))

    results = []
    for every in (0, 1000):
        display = training.LiveDisplay(samples, every_seconds=every)
        pictures(display)
        keras.utils.set_random_seed(1)
        model = make_model()
        results.append(model.fit(*make_data(), epochs=3, verbose=0, callbacks=[display]).history["loss"])
    assert results[0] == results[1]


def test_samples_see_the_current_weights():
    """On JAX the weights are out of reach in the middle of an epoch unless they are brought up to date."""
    x, y = make_data()
    model, seen = make_model(), []
    display = training.LiveDisplay(
        samples=lambda: seen.append(float(keras.ops.convert_to_numpy(model(x[:1]))[0, 0])), every_seconds=0
    )
    pictures(display)
    model.fit(x, y, batch_size=16, epochs=2, verbose=0, callbacks=[display])
    assert len(set(seen)) >= 12
    assert seen[-1] == pytest.approx(float(keras.ops.convert_to_numpy(model(x[:1]))[0, 0]))


@pytest.mark.parametrize(
    "images", [np.full((4, 3, 3), np.nan), None, np.zeros((1, 28, 28, 3)), np.zeros((2, 500, 500))]
)
def test_kinds_of_samples(images):
    display = training.LiveDisplay(samples=lambda: images, every_seconds=0)
    shown = pictures(display)
    run(display, epochs=1)
    assert ("current samples" in shown[-1].alt) == (images is not None)


def test_a_figure_of_samples():
    def samples():
        figure, axes = plots.new_figure(3, 3)
        axes.plot([0, 1], [1, 0])
        return figure

    display = training.LiveDisplay(samples, every_seconds=0)
    shown = pictures(display)
    run(display, epochs=1)
    assert shown[-1].size[0] > 540 + 300


def test_images_out_of_range_fail_before_the_training():
    display = training.LiveDisplay(samples=lambda: np.full((1, 2, 2), -1.0), every_seconds=0)
    pictures(display)
    with pytest.raises(ValueError, match=r"\(x \+ 1\) / 2"):
        run(display)
    assert display._done == 0


def test_a_loss_that_is_not_finite_is_said():
    display = training.LiveDisplay(every_seconds=0)
    shown = pictures(display)
    x, y = make_data()
    make_model().fit(x, y * np.nan, epochs=1, verbose=0, callbacks=[display])
    assert "loss, mae is not a finite number: the training broke down" in shown[-1].alt


def test_fit_takes_arrays_pairs_and_data_sets():
    x, y = make_data(40)

    class Pairs(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return x[index::3], y[index::3]

    class Alone(keras.Model):
        def __init__(self):
            super().__init__()
            self.layer = keras.layers.Dense(5)

        def call(self, inputs):
            return self.layer(inputs)

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return keras.ops.mean(keras.ops.square(y_pred - x))

    for model, data in [(make_model(), (x, y)), (make_model(), Pairs()), (Alone(), x)]:
        if isinstance(model, Alone):
            model.compile("sgd")
        history = training.fit(model, data, epochs=2, batch_size=16)
        assert len(history.history["loss"]) == 2 and np.isfinite(history.history["loss"]).all()


def test_batch_size_counts_for_several_inputs():
    """A tuple of arrays as x is no data set: it gets the batch size asked for."""
    two = [keras.Input((5,)), keras.Input((5,))]
    model = keras.Model(two, keras.layers.Dense(1)(keras.layers.Add()(two)))
    model.compile("adam", "mse")
    x, y = make_data()
    steps = []
    count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(batch))
    training.fit(model, ((x, x), y), epochs=1, batch_size=48, callbacks=[count])
    assert len(steps) == 2


def test_fit_gives_the_same_numbers_for_the_same_seed():
    losses = [training.fit(make_model(), make_data(), epochs=2, seed=seed).history["loss"] for seed in (5, 5, 6)]
    assert losses[0] == losses[1] != losses[2]


class Stop(keras.callbacks.Callback):
    """Interrupt like a reader who presses stop, in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.at = epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.now == self.at and batch == 1:
            raise KeyboardInterrupt


def test_an_interrupted_training_goes_on(tmp_path, capsys):
    folder = tmp_path / "backup"
    model = make_model()
    with pytest.raises(KeyboardInterrupt):
        training.fit(model, make_data(), epochs=5, batch_size=16, backup=folder, callbacks=[Stop(3)])
    assert "3 of 5 epochs are kept" in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == ["epoch-0003.weights.h5", "state.json"]
    first = json.loads((folder / "state.json").read_text())["history"]["loss"]

    seen = []
    watch = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: seen.append(epoch))
    again = make_model(seed=9)
    history = training.fit(again, make_data(), epochs=5, batch_size=16, backup=folder, callbacks=[watch])
    assert seen == [3, 4]
    assert history.history["loss"][:3] == first and len(history.history["loss"]) == 5
    assert history.epoch == [0, 1, 2, 3, 4]
    assert not folder.exists()
    assert int(keras.ops.convert_to_numpy(again.optimizer.iterations)) == 5 * 6


def test_a_finished_backup_is_only_loaded(tmp_path):
    """Killed between the last epoch and the clearing up: nothing is trained again."""
    folder = tmp_path / "backup"
    with pytest.raises(KeyboardInterrupt):
        training.fit(make_model(), make_data(), epochs=9, backup=folder, batch_size=16, callbacks=[Stop(2)])
    again = make_model(seed=9)
    history = training.fit(again, make_data(), epochs=2, batch_size=16, backup=folder)
    assert len(history.history["loss"]) == 2
    assert int(keras.ops.convert_to_numpy(again.optimizer.iterations)) == 2 * 6


def test_damaged_and_foreign_backups_are_named(tmp_path):
    folder = tmp_path / "backup"
    with pytest.raises(KeyboardInterrupt):
        training.fit(make_model(), make_data(), epochs=3, backup=folder, batch_size=16, callbacks=[Stop(1)])
    other = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3), keras.layers.Dense(1)])
    other.compile("adam", "mse")
    with pytest.raises(CourseError, match="does not fit this model"):
        training.fit(other, make_data(), epochs=3, backup=folder)
    (folder / "epoch-0001.weights.h5").write_bytes(b"half a file")
    with pytest.raises(CourseError, match="damaged"):
        training.fit(make_model(), make_data(), epochs=3, backup=folder)
    (folder / "state.json").write_text("{")
    with pytest.raises(CourseError, match="damaged"):
        training.fit(make_model(), make_data(), epochs=3, backup=folder)


@pytest.mark.slow
def test_a_killed_process_goes_on(tmp_path):
    """A process is killed without warning in its third epoch; this one ends the training."""
    script = tmp_path / "long.py"
    script.write_text(
        textwrap.dedent(
            """
            import time
            import keras, numpy as np
            from aigc_course import training

            model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])
            model.compile("adam", "mse")
            x = np.ones((64, 5), "float32")
            slow = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(0.2))
            training.fit(model, (x, x[:, :1]), epochs=6, batch_size=16, backup="kept", callbacks=[slow])
            """
        )
    )
    process = subprocess.Popen([sys.executable, str(script)], cwd=tmp_path, stdout=subprocess.DEVNULL)
    folder, deadline = tmp_path / "kept", time.monotonic() + 300
    while time.monotonic() < deadline and epochs_kept(folder) < 2:
        time.sleep(0.05)
    process.kill()
    process.wait()
    kept = epochs_kept(folder)
    assert 2 <= kept < 6, "the process must be killed in the middle, and within five minutes"

    began = []
    watch = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: began.append(epoch))
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    x = np.ones((64, 5), "float32")
    history = training.fit(model, (x, x[:, :1]), epochs=6, batch_size=16, backup=folder, callbacks=[watch])
    assert began == list(range(kept, 6)) and len(history.history["loss"]) == 6
    assert not folder.exists()


def epochs_kept(folder):
    state = folder / "state.json"
    return json.loads(state.read_text())["epoch"] if state.exists() else 0


@pytest.mark.slow
def test_few_kernel_messages_and_the_last_picture_stays(tmp_path, capsys):
    """Five seconds of training in a real kernel: at most one message each two seconds beside the cell's own."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    source = """
    import time, keras, numpy as np
    from aigc_course import training
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    x = np.ones((64, 5), "float32")
    slow = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(0.02))
    history = training.fit(model, (x, x[:, :1]), epochs=60, batch_size=16, callbacks=[slow],
                           samples=lambda: np.full((16, 28, 28, 1), 0.5))
    """
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(textwrap.dedent(source))])
    messages = []

    class Counting(nbclient.NotebookClient):
        def process_message(self, msg, cell, cell_index):
            messages.append((time.monotonic(), msg["msg_type"]))
            return super().process_message(msg, cell, cell_index)

    Counting(notebook, timeout=400, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [at for at, kind in messages if kind in ("display_data", "update_display_data")]
    minutes = (shown[-1] - shown[0]) / 60
    with capsys.disabled():
        print(
            f"\nlive display: {len(shown)} messages in {60 * minutes:.1f} s, {(len(shown) - 1) / minutes:.0f} a minute"
        )
    assert len(shown) <= 3 + 60 * minutes / 2
    outputs = [output for output in notebook.cells[0].outputs if "image/png" in output.get("data", {})]
    assert len(outputs) == 1
    assert outputs[0].metadata["image/png"]["alt"].startswith("Training, done in")
