"""Compiled functions read current weights; input gradients against closed forms and finite differences."""

import keras
import numpy as np
import pytest
from keras import ops

from aigc_course.compiled import compiled, input_gradient


def array(value):
    return ops.convert_to_numpy(value)


def test_compiled_function_gives_the_same_numbers():
    x = np.linspace(-2, 2, 6).reshape(2, 3).astype("float32")
    double = compiled(lambda a, b: ops.tanh(a) + 2 * b)
    np.testing.assert_allclose(
        array(double(ops.convert_to_tensor(x), ops.convert_to_tensor(x))), np.tanh(x) + 2 * x, rtol=1e-5
    )


def test_compiled_function_follows_the_weights_of_its_model():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    run = compiled(lambda x: model(x), model)
    x = ops.ones((1, 3))
    first = array(run(x))
    model.layers[0].bias.assign([5.0, -5.0])
    np.testing.assert_allclose(array(run(x)) - first, [[5.0, -5.0]], rtol=1e-5)


def test_compiled_function_follows_a_single_variable():
    scale = keras.Variable(2.0)
    run = compiled(lambda x: x * scale, scale)
    assert float(run(ops.ones(()))) == 2.0
    scale.assign(3.0)
    assert float(run(ops.ones(()))) == 3.0


def test_compiled_function_takes_another_batch_size():
    run = compiled(lambda x: ops.sum(x, axis=1))
    for rows in (1, 4, 2):
        assert array(run(ops.ones((rows, 3)))).shape == (rows,)


def test_input_gradient_of_a_square():
    x = ops.convert_to_tensor(np.array([[1.0, -2.0], [0.5, 3.0]], "float32"))
    np.testing.assert_allclose(array(input_gradient(lambda v: ops.sum(v**2, axis=1), x)), 2 * array(x), rtol=1e-6)


def test_input_gradient_by_finite_differences():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(1)])
    x = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
    found = array(input_gradient(model, ops.convert_to_tensor(x)))
    for place in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[place] += 1e-2
        down[place] -= 1e-2
        slope = (array(model(up)).sum() - array(model(down)).sum()) / 2e-2
        assert found[place] == pytest.approx(slope, abs=2e-3)


def test_input_gradient_can_be_trained_through():
    """fit moves a weight down the gradient of a penalty on the slope: f(x) = w x has slope w, pulled to 1."""

    class Slope(keras.Model):
        def __init__(self):
            super().__init__()
            self.w = self.add_weight(shape=(), initializer=keras.initializers.Constant(3.0))

        def call(self, x):
            return x * self.w

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return ops.mean((input_gradient(lambda v: v * self.w, x) - 1.0) ** 2)

    model = Slope()
    model.compile(keras.optimizers.SGD(0.1))
    model.fit(np.ones((4, 1), "float32"), batch_size=4, epochs=1, verbose=0)
    assert float(model.w.value) == pytest.approx(3.0 - 0.1 * 2 * (3.0 - 1.0), rel=1e-5)


def test_compiled_by_xla_gives_the_same_numbers_and_follows_the_weights():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="tanh")])
    run = compiled(lambda x: model(x) + 1, model, xla=True)
    for rows in (2, 5, 2):
        x = np.linspace(-1, 1, 3 * rows).reshape(rows, 3).astype("float32")
        kernel, bias = (array(weight) for weight in model.weights)
        np.testing.assert_allclose(array(run(ops.convert_to_tensor(x))), np.tanh(x @ kernel + bias) + 1, rtol=1e-5)
        model.layers[0].bias.assign(np.full(2, 0.1 * rows, "float32"))


def test_compiled_by_xla_runs_loops_of_a_length_told_at_the_call():
    def powers(x, count):
        body = lambda step, value: (step + 1, value * x)  # noqa: E731
        start = (ops.convert_to_tensor(0, "int32"), ops.ones_like(x))
        return ops.while_loop(lambda step, value: step < count, body, start)[1]

    run = compiled(powers, xla=True)
    x = np.array([1.0, -2.0, 0.5], "float32")
    for count in (0, 3, 6):
        np.testing.assert_allclose(array(run(ops.convert_to_tensor(x), np.int32(count))), x**count, rtol=1e-6)
