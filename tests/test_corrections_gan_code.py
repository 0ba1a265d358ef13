"""Corrections of the GAN listings: shapes, ranges, losses, who moves whom, what a step and an epoch are.

See tests/ledger.py. The networks are tiny, and their axes have odd, different sizes.
"""

import logging

import keras
import numpy as np
import pytest
from keras import layers, losses, ops
from ledger import Pair, correction

from aigc_course import gan, metrics
from aigc_course.compiled import input_gradient
from aigc_course.datasets import load_digits

REAL, FAKE = np.ones((6, 1), "float32"), np.zeros((6, 1), "float32")


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def array(tensor):
    return ops.convert_to_numpy(tensor)


def noise(rows, width, seed=0):
    return gan.sample_noise(rows, width, seed)


def dense_generator(width=3, outputs=5):
    """Noise [B, 3] -> points [B, 5]."""
    return keras.Sequential([keras.Input((width,)), layers.Dense(4, "tanh"), layers.Dense(outputs)])


def dense_judge(inputs=5, activation=None):
    """Points [B, 5] -> [B, 1]: a logit, or a probability with ``activation="sigmoid"``."""
    return keras.Sequential([keras.Input((inputs,)), layers.Dense(4, "tanh"), layers.Dense(1, activation)])


def points(rows=6, width=5):
    return np.random.default_rng(1).normal(size=(rows, width)).astype("float32")


def largest_change(network, action):
    """Largest change of a weight of ``network`` while ``action()`` runs."""
    before = [w.copy() for w in network.get_weights()]
    action()
    return max(np.abs(old - new).max() for old, new in zip(before, network.get_weights(), strict=True))


def from_logits():
    return losses.BinaryCrossentropy(from_logits=True)


# --- networks that can be built ---------------------------------------------------------------------------------------


def image_generator(units, shape, stages):
    """Noise [B, 5] -> map of ``shape`` -> ``stages`` doublings of its side -> one channel."""
    doublings = [layers.Conv2DTranspose(2, 3, strides=2, padding="same", activation="relu") for _ in range(stages)]
    head = layers.Conv2D(1, 3, padding="same", activation="tanh")
    return keras.Sequential([keras.Input((5,)), layers.Dense(units), layers.Reshape(shape), *doublings, head])


def course_generator():
    return gan.DCGANGenerator(latent_dim=5, width=2)


def made_by(build):
    return lambda: build()(noise(2, 5)).shape


def like_a_digit(shape):
    return tuple(shape) == (2, 28, 28, 1)


@correction("A1")
def test_a1_dense_layer_fills_the_map():
    return Pair(
        faulty=[made_by(lambda: image_generator(128, (7, 7, 1), 2))],
        right=[made_by(lambda: image_generator(7 * 7 * 3, (7, 7, 3), 2)), made_by(course_generator)],
        is_right=like_a_digit,
        raises=ValueError,
        message="total size of the tensor must be unchanged",
    )


@correction("A2")
def test_a2_two_doublings_from_7_to_28():
    assert image_generator(7 * 7 * 3, (7, 7, 3), 3).output_shape == (None, 56, 56, 1)
    return Pair(
        faulty=[made_by(lambda: image_generator(7 * 7 * 3, (7, 7, 3), 3))],
        right=[made_by(lambda: image_generator(7 * 7 * 3, (7, 7, 3), 2)), made_by(course_generator)],
        is_right=like_a_digit,
    )


@correction("A3")
def test_a3_activation_is_called_on_the_tensor():
    def judge(apply):
        images = keras.Input((9, 9, 1))
        x = apply(layers.Conv2D(2, 3)(images))
        return keras.Model(images, layers.Dense(1)(layers.Flatten()(x)))

    def bends(model):  # an affine map has f(x) + f(-x) = 2 f(0)
        x = np.random.default_rng(0).normal(size=(2, *model.input_shape[1:])).astype("float32")
        plus, minus, zero = (array(model(sign * x, training=False)) for sign in (1, -1, 0))
        return np.abs(plus + minus - 2 * zero).max() > 1e-3

    return Pair(
        faulty=[lambda: judge(lambda x: layers.LeakyReLU(negative_slope=0.2)), lambda: judge(lambda x: x)],
        right=[
            lambda: judge(lambda x: layers.LeakyReLU(negative_slope=0.2)(x)),
            lambda: gan.DCGANDiscriminator(width=2),
            lambda: gan.MLPDiscriminator(image_shape=(3, 4, 1)),
        ],
        is_right=bends,
        raises=ValueError,
        message="Only input tensors may be passed",
    )


def test_a3_old_name_of_the_slope_is_deprecated():
    with pytest.warns(UserWarning, match="negative_slope"):
        assert layers.LeakyReLU(alpha=0.1).negative_slope == pytest.approx(0.1)


BARE_WORDS = "network = 3\nnetwork overview\n"
NEVER_DEFINED = "steps = [training_step(batch) for batch in range(2)]\n"
LISTING = """
from aigc_course import gan

judge = gan.MLPDiscriminator(image_shape=(3, 4, 1))
maker = gan.MLPGenerator(latent_dim=2, image_shape=(3, 4, 1))
images = gan.GAN(maker, judge).sample(2)
"""


def run_alone(listing):
    """Run ``listing`` as a script of its own and return the names that it leaves."""
    names = {}
    exec(compile(listing, "listing", "exec"), names)
    return names


@correction("A4")
def test_a4_listing_parses_and_runs():
    return Pair(
        faulty=[lambda: run_alone(BARE_WORDS), lambda: run_alone(NEVER_DEFINED)],
        right=[lambda: run_alone(LISTING)],
        is_right=lambda names: names["images"].shape == (2, 3, 4, 1),
        raises=(SyntaxError, NameError),
    )


def numbers_read_by_the_last_layer(model):
    return model.layers[-1].kernel.shape[0]


@correction("A27")
def test_a27_strides_shrink_the_map():
    def judge(side, strides):
        convolutions = [layers.Conv2D(128, 3, strides=strides, padding="same") for _ in range(2)]
        images = keras.Input((side, side, 1))
        return layers.Flatten()(convolutions[1](convolutions[0](images))).shape[1]

    assert judge(28, 1) == 100_352
    assert judge(256, 1) == 8_388_608
    return Pair(
        faulty=[lambda: judge(28, 1)],
        right=[lambda: judge(28, 2), lambda: numbers_read_by_the_last_layer(gan.DCGANDiscriminator())],
        is_right=lambda count: count <= 7 * 7 * 128,
    )


@correction("B6")
def test_b6_networks_have_biases():
    def answer_to_nothing(model):
        """Largest output for the input 0 (before a last sigmoid), whatever was learned: all weights are set anew."""
        rng = np.random.default_rng(0)
        model.set_weights([rng.uniform(0.1, 0.2, w.shape) for w in model.get_weights()])
        return np.abs(array(model(np.zeros((1, *model.input_shape[1:]), "float32"), training=False))).max()

    def without_biases(outputs, activation=None):
        hidden = [layers.Dense(4, use_bias=False), layers.LeakyReLU(negative_slope=0.2)]
        return keras.Sequential([keras.Input((3,)), *hidden, layers.Dense(outputs, activation, use_bias=False)])

    x, model = points(2, 3), without_biases(1)
    assert np.allclose(array(model(3 * x)), 3 * array(model(x)), atol=1e-5)
    assert array(without_biases(1, "sigmoid")(0 * x)) == pytest.approx(0.5)
    return Pair(
        faulty=[lambda: answer_to_nothing(without_biases(5, "tanh")), lambda: answer_to_nothing(without_biases(1))],
        right=[
            lambda: answer_to_nothing(gan.MLPGenerator(latent_dim=3, image_shape=(3, 4, 1))),
            lambda: answer_to_nothing(gan.MLPDiscriminator(image_shape=(3, 4, 1))),
        ],
        is_right=lambda largest: largest > 1e-3,
    )


def stack(maker, judge):
    """Generator and discriminator in a row, as the documents train the generator."""
    noise_in = keras.Input(maker.input_shape[1:])
    return keras.Model(noise_in, judge(maker(noise_in)))


@correction("D12")
def test_d12_generator_and_discriminator_agree_on_channels():
    def judge(side, channels):
        return keras.Sequential([keras.Input((side, side, channels)), layers.Flatten(), layers.Dense(1)])

    def coloured():
        return keras.Sequential([keras.Input((2,)), layers.Dense(48), layers.Reshape((4, 4, 3))])

    stacked = keras.Sequential([coloured(), judge(4, 1)])
    stacked.compile("sgd", from_logits())  # the trap: nothing is said so far
    with pytest.raises(ValueError, match=r"makes \(4, 4, 3\).*expects \(4, 4, 1\)"):
        gan.GAN(coloured(), judge(4, 1))
    course = gan.GAN(course_generator(), gan.DCGANDiscriminator(width=2))
    return Pair(
        faulty=[lambda: stacked(noise(2, 2))],
        right=[
            lambda: keras.Sequential([coloured(), judge(4, 3)])(noise(2, 2)),
            lambda: course.discriminator(course.generator(noise(2, 5))),
        ],
        is_right=lambda logits: tuple(logits.shape) == (2, 1),
        raises=ValueError,
        message="incompatible with the layer",
    )


# --- data and ranges --------------------------------------------------------------------------------------------------


@correction("A6")
def test_a6_real_images_have_the_range_of_tanh():
    images = load_digits().train.images[:60]
    made = array(ops.tanh(50 * (images[30:] - 0.5)))  # a perfect generator's images, in the range of tanh

    def told_apart_by_the_smallest_pixel(real):
        """Share of images, half of each kind, that the best threshold on the smallest pixel gets right."""
        smallest = np.concatenate([real.reshape(30, -1).min(axis=1), made.reshape(30, -1).min(axis=1)])
        is_real = np.repeat([True, False], 30)
        return max(np.mean((smallest > t) == is_real) for t in np.linspace(-1.01, 1, 50))

    assert told_apart_by_the_smallest_pixel(images[:30]) == 1.0
    return Pair(
        faulty=[
            lambda: told_apart_by_the_smallest_pixel(images[:30]),
            lambda: told_apart_by_the_smallest_pixel(255 * images[:30]),
        ],
        right=[lambda: told_apart_by_the_smallest_pixel(gan.to_model_range(images[:30]))],
        is_right=lambda share: share < 0.6,
    )


@correction("B26")
def test_b26_data_have_shape_and_range():
    digits = load_digits().train.images[:7]

    def first_batch(dataset):
        return next(iter(dataset))

    def fits_the_generator(batch):
        return batch.shape[1:] == (28, 28, 1) and -1 <= batch.min() < -0.9 and 0.5 < batch.max() <= 1

    return Pair(
        faulty=[
            lambda: first_batch(...),
            lambda: first_batch([digits[..., 0] * 255]),
            lambda: first_batch([digits * 255]),
            lambda: first_batch([digits]),
        ],
        right=[lambda: first_batch([gan.to_model_range(digits)])],
        is_right=fits_the_generator,
        raises=TypeError,
        message="'ellipsis' object is not iterable",
    )


@correction("D24")
def test_d24_generator_reaches_every_grey_level():
    real = gan.to_model_range(load_digits().train.images[:200])

    def lowest_output(model):
        """What the model returns when its last layer is driven as far down as can be."""
        kernel, bias = model.layers[-1].get_weights()
        model.layers[-1].set_weights([0 * kernel, 0 * bias - 100])
        return array(model(noise(1, model.input_shape[-1]), training=False)).min()

    def of_the_formula():
        return keras.Sequential([keras.Input((5,)), layers.Dense(784, "sigmoid")])

    assert np.mean(real < lowest_output(of_the_formula())) > 0.8
    return Pair(
        faulty=[lambda: lowest_output(of_the_formula())],
        right=[lambda: lowest_output(course_generator())],
        is_right=lambda lowest: np.mean(real < lowest) == 0,
    )


# --- losses -----------------------------------------------------------------------------------------------------------


@correction("B4")
def test_b4_one_sigmoid_only():
    sure_of_real, sure_of_fake = np.ones((2, 1), "float32"), np.zeros((2, 1), "float32")  # plain arrays: see the trap
    twice = [float(from_logits()(label, label)) for label in (sure_of_real, sure_of_fake)]
    assert twice == pytest.approx([np.log(1 + np.exp(-1)), np.log(2)], abs=1e-5)
    assert twice == pytest.approx([0.3133, 0.6931], abs=1e-4)
    logits = ops.convert_to_tensor([[30.0], [40.0]])
    return Pair(
        faulty=[lambda: twice[0], lambda: twice[1], lambda: sum(twice)],
        right=[
            lambda: float(gan.discriminator_loss(logits, -logits)),
            lambda: float(from_logits()(sure_of_real, logits)),
            lambda: float(from_logits()(sure_of_fake, -logits)),
        ],
        is_right=lambda loss: loss < 1e-5,
    )


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="Keras looks behind the sigmoid on TensorFlow only")
def test_b4_trap_tensorflow_finds_the_logits():
    with pytest.warns(UserWarning, match="from_logits=True"):
        assert float(from_logits()(np.ones((1, 1)), ops.sigmoid(ops.convert_to_tensor([[20.0]])))) < 1e-6


def moved_opinion(labels_or_loss):
    """Change of the mean D(G(z)) by one step of the generator alone, against a fixed judge."""
    maker, judge, z = dense_generator(), dense_judge(), noise(6, 3)
    judge.trainable = False  # before anything is built, and for good
    model = stack(maker, judge)
    given = not callable(labels_or_loss)
    model.compile(keras.optimizers.SGD(0.3), from_logits() if given else lambda y, logits: labels_or_loss(logits))

    def opinion():
        return float(array(ops.mean(ops.sigmoid(model(z)))))

    before = opinion()
    model.train_on_batch(z, labels_or_loss if given else REAL)
    return opinion() - before


@correction("B5")
def test_b5_generator_wants_to_pass_as_real():
    return Pair(
        faulty=[lambda: moved_opinion(FAKE)],
        right=[
            lambda: moved_opinion(REAL),
            lambda: moved_opinion(lambda logits: gan.generator_loss(logits, "non-saturating")),
            lambda: moved_opinion(lambda logits: gan.generator_loss(logits, "minimax")),
        ],
        is_right=lambda change: change > 1e-4,
    )


@correction("B16")
def test_b16_target_first_prediction_second():
    def swapped(label):
        return lambda output: losses.binary_crossentropy(output, ops.full_like(output, label), from_logits=True)

    def slope(loss, output=0.3):
        return float(array(input_gradient(loss, ops.convert_to_tensor([[output]])))[0, 0])

    for output in (0.1, 0.3, 0.9):
        given = ops.convert_to_tensor([[output]])
        assert float(swapped(0.0)(given)[0]) == pytest.approx(0.6931, abs=1e-4)
        assert float(swapped(1.0)(given)[0]) == pytest.approx(1.3133 - output, abs=1e-4)
    return Pair(
        faulty=[lambda: slope(swapped(0.0))],
        right=[
            lambda: slope(lambda logit: losses.binary_crossentropy(ops.zeros_like(logit), logit, from_logits=True)),
            lambda: slope(lambda logit: gan.discriminator_loss(ops.zeros_like(logit), logit)),
        ],
        is_right=lambda slope: slope > 0.1,  # descent lowers the logit of a fake
    )


@correction("D13")
def test_d13_loss_knows_that_it_gets_logits():
    def taken_for_probability(logit):
        return losses.binary_crossentropy(ops.ones_like(logit), logit)

    def of_the_course(logit):
        return gan.discriminator_loss(logit, ops.full_like(logit, -30.0))

    def loss_and_slope(loss):
        logit = ops.convert_to_tensor([[-2.0]])
        return float(ops.sum(loss(logit))), float(array(input_gradient(loss, logit))[0, 0])

    assert loss_and_slope(taken_for_probability) == pytest.approx((16.118, 0.0), abs=1e-3)
    assert loss_and_slope(of_the_course) == pytest.approx((2.127, -0.881), abs=1e-3)
    for loss in (taken_for_probability, of_the_course):  # the trap: a perfect judge does not show it
        assert float(ops.sum(loss(ops.convert_to_tensor([[10.0]])))) == pytest.approx(0, abs=1e-3)
    return Pair(
        faulty=[lambda: loss_and_slope(taken_for_probability)],
        right=[lambda: loss_and_slope(of_the_course)],
        is_right=lambda found: np.isclose(found[0], np.log1p(np.exp(2))) and found[1] < -0.5,
    )


@correction("D23")
def test_d23_threshold_of_a_logit_is_zero():
    def accuracy(threshold):  # of a judge whose sigmoid(0.2) = 0.55 says "real" about a real image
        return float(keras.metrics.BinaryAccuracy(threshold=threshold)(np.ones((1, 1)), np.full((1, 1), 0.2)))

    return Pair(faulty=[lambda: accuracy(0.5)], right=[lambda: accuracy(0.0)], is_right=lambda share: share == 1)


# --- who moves whom ---------------------------------------------------------------------------------------------------


def course_gan(**options):
    model = gan.GAN(dense_generator(), dense_judge(), **options)
    model.compile(keras.optimizers.SGD(0.3))
    return model


@correction("A5")
def test_a5_discriminator_learns_in_its_own_step():
    def frozen_after_compile():
        maker, judge = dense_generator(), dense_judge()
        judge.compile(keras.optimizers.SGD(0.3), from_logits())
        judge.trainable = False  # before its first step: see the trap
        stack(maker, judge).compile("sgd", from_logits())
        return largest_change(judge, lambda: judge.train_on_batch(points(), REAL))

    def by_the_course():
        model = course_gan()
        return largest_change(model.discriminator, lambda: model.train_on_batch(points()))

    return Pair(faulty=[frozen_after_compile], right=[by_the_course], is_right=lambda change: change > 1e-4)


def test_a5_trap_a_step_before_the_freeze_hides_it_on_one_backend():
    judge = dense_judge()
    judge.compile(keras.optimizers.SGD(0.3), from_logits())
    judge.train_on_batch(points(), REAL)
    judge.trainable = False

    def step():
        return judge.train_on_batch(points(), REAL)

    match keras.backend.backend():
        case "tensorflow":
            assert largest_change(judge, step) > 1e-4
        case "torch":
            assert largest_change(judge, step) == 0
        case "jax":
            with pytest.raises(ValueError, match="optimizer_variables"):
                step()


@correction("A23")
def test_a23_judge_sees_the_images_that_are_trained():
    def listing():
        maker = keras.Sequential([keras.Input((100,)), layers.Dense(49), layers.Reshape((7, 7, 1))])
        for _ in range(2):
            maker.add(layers.Conv2DTranspose(8, 5, strides=2, padding="same"))
            maker.add(layers.BatchNormalization())
            maker.add(layers.LeakyReLU())
        maker.add(layers.Conv2D(1, 5, padding="same", activation="tanh"))
        z = noise(32, 100)
        return np.abs(array(maker(z, training=False)) - array(maker(z, training=True))).max()

    def by_the_course():
        class Witness(keras.Sequential):
            def call(self, inputs, training=None, mask=None):
                seen.append(array(inputs))
                return super().call(inputs, training=training, mask=mask)

        seen = []
        judge = Witness([keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(1)])
        model, real = gan.GAN(course_generator(), judge), np.zeros((6, 28, 28, 1), "float32")
        seen.clear()  # building the network called it too
        model.compute_loss(x=real, y_pred=ops.zeros((6, 1)))
        judged, trained = seen
        return np.abs(judged - trained).max()

    return Pair(faulty=[listing], right=[by_the_course], is_right=lambda largest: largest < 1e-6)


@correction("B17")
def test_b17_fakes_are_made_where_the_gradient_is_taken():
    class MadeOutside(keras.Model):
        """Trains a generator on images that it made before: they arrive as data."""

        def __init__(self, maker, judge):
            super().__init__()
            self.maker, self.judge = maker, judge
            self.judge.trainable = False

        def call(self, images):
            return self.judge(images)

    def listing():
        maker = dense_generator()
        model = MadeOutside(maker, dense_judge())
        model.compile(keras.optimizers.SGD(0.3), from_logits())
        fakes = array(maker(noise(6, 3)))
        return largest_change(maker, lambda: model.train_on_batch(fakes, REAL))

    def by_the_course():
        model = course_gan()
        return largest_change(model.generator, lambda: model.train_on_batch(points()))

    return Pair(
        faulty=[listing],
        right=[by_the_course],
        is_right=lambda change: change > 1e-4,
        raises=(ValueError, RuntimeError),  # TensorFlow's and PyTorch's; on JAX the step passes and nothing moves
        message="No gradients provided for any variable|does not require grad",
    )


def old_fakes_rise(judge, num_steps=20):
    """Rise of D's mean output for the same old fakes while only "the generator" takes steps in a stack."""
    maker = dense_generator()
    z, fakes = noise(64, 3), array(maker(noise(64, 3, seed=1)))
    model = stack(maker, judge)
    model.compile(keras.optimizers.Adam(0.01), losses.BinaryCrossentropy())
    before = array(judge(fakes)).mean()
    for _ in range(num_steps):
        model.train_on_batch(z, np.ones((64, 1)))
    return array(judge(fakes)).mean() - before


@correction("D14")
def test_d14_generator_step_leaves_the_discriminator_alone(monkeypatch):
    def unfrozen():
        maker, judge = dense_generator(), dense_judge(activation="sigmoid")
        model = stack(maker, judge)
        model.compile(keras.optimizers.SGD(0.3), losses.BinaryCrossentropy())
        return largest_change(judge, lambda: model.train_on_batch(noise(6, 3), REAL))

    def by_the_course():
        def silent(real_logits, fake_logits, *rest):
            return 0.0 * (ops.mean(real_logits) + ops.mean(fake_logits))

        model = course_gan()
        with monkeypatch.context() as patch:
            patch.setattr(gan, "discriminator_loss", silent)  # leaves the generator's step alone
            return largest_change(model.discriminator, lambda: model.train_on_batch(points()))

    assert old_fakes_rise(dense_judge(activation="sigmoid")) > 0.04
    return Pair(faulty=[unfrozen], right=[by_the_course], is_right=lambda change: change == 0)


@correction("D15")
def test_d15_as_many_labels_as_images():
    def step(num_noises, num_labels):
        model = stack(dense_generator(), dense_judge())
        model.compile("sgd", from_logits())
        return float(model.train_on_batch(noise(num_noises, 3), np.ones(num_labels)))

    return Pair(
        faulty=[lambda: step(64, 128)],
        right=[lambda: step(64, 64), lambda: course_gan().train_on_batch(points(64))],
        is_right=lambda loss: np.isfinite(loss).all(),
        raises=ValueError,
        message="must have the same shape",
    )


@correction("B22")
def test_b22_a_step_asks_for_nothing_it_does_not_read():
    def loss_of_a_step(images, labels=None):
        keras.utils.set_random_seed(0)
        return float(gan.GAN(dense_generator(), dense_judge()).compute_loss(x=images, y_pred=dense_judge()(images)))

    labels = np.arange(6)

    def every_argument_matters(arguments):
        changed = [(*arguments[:i], values[::-1] + 1, *arguments[i + 1 :]) for i, values in enumerate(arguments)]
        return all(abs(loss_of_a_step(*other) - loss_of_a_step(*arguments)) > 1e-6 for other in changed)

    return Pair(
        faulty=[lambda: (points(), labels)],
        right=[lambda: (points(),)],
        is_right=every_argument_matters,
    )


# --- steps and epochs -------------------------------------------------------------------------------------------------


def counted(model, calls):
    """Make ``model`` note every call of its compiled training and prediction functions in ``calls``."""
    for name in ("train_function", "predict_function"):
        if (function := getattr(model, name, None)) is not None:
            setattr(model, name, lambda *args, f=function: calls.append(1) or f(*args))


@correction("A7")
def test_a7_one_compiled_call_a_batch():
    def listing():
        maker, judge = dense_generator(), dense_judge()
        frozen = dense_judge()
        frozen.trainable = False
        stacked, calls = stack(maker, frozen), []
        judge.compile("sgd", from_logits())
        stacked.compile("sgd", from_logits())

        def batch():
            fakes = maker.predict(noise(6, 3), verbose=0)
            judge.train_on_batch(points(), REAL)
            judge.train_on_batch(fakes, FAKE)
            stacked.train_on_batch(noise(6, 3), REAL)

        batch()
        for model in (maker, judge, stacked):
            counted(model, calls)
        batch()
        return len(calls)

    def by_the_course():
        model, calls = course_gan(), []
        model.fit(points(), verbose=0)
        counted(model, calls)
        model.fit(points(18), batch_size=6, verbose=0)
        return len(calls) / 3

    calls_of_listing = listing()
    assert calls_of_listing == 4
    return Pair(
        faulty=[lambda: calls_of_listing],
        right=[by_the_course],
        is_right=lambda calls_for_a_batch: calls_for_a_batch == 1,
    )


class CountingGAN(gan.GAN):
    """Counts how often it has seen each of ``num_points`` points; point i is (i, 0, 0, 0, 0)."""

    def __init__(self, num_points):
        super().__init__(dense_generator(), dense_judge())
        self.num_points = num_points
        self.visits = keras.Variable(np.zeros(num_points), trainable=False, dtype="float32")

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        seen = ops.one_hot(ops.cast(ops.round(x[:, 0]), "int32"), self.num_points, dtype="float32")
        self.visits.assign_add(ops.sum(seen, axis=0))
        return super().compute_loss(x, y, y_pred, sample_weight, training)


def numbered_points(num_points):
    return np.eye(5, dtype="float32")[:1] * np.arange(num_points, dtype="float32")[:, None]


def visits(train, num_points=20):
    """How often each of 20 points is seen while ``train(model, data)`` runs."""
    model = CountingGAN(num_points)
    model.compile(keras.optimizers.SGD(0.001))
    train(model, numbered_points(num_points))
    return array(model.visits)


def fit_once(model, data):
    model.fit(data, batch_size=8, epochs=1, verbose=0)


@correction("A25")
def test_a25_epoch_sees_every_image():
    def one_batch(model, data):
        model.train_on_batch(data[:8])

    seen_in_one_batch, seen_in_a_pass = visits(one_batch), visits(fit_once)
    assert (seen_in_one_batch.sum(), seen_in_a_pass.sum()) == (8, 20)
    return Pair(
        faulty=[lambda: seen_in_one_batch],
        right=[lambda: seen_in_a_pass],
        is_right=lambda seen: (seen > 0).all(),
    )


@correction("D28")
def test_d28_shuffled_pass_sees_each_image_once():
    rng = np.random.default_rng(0)

    def draws_with_replacement(model, data):
        for _ in range(5):
            model.train_on_batch(data[rng.integers(0, len(data), 8)])

    unseen = 1 - len(np.unique(rng.integers(0, 60_000, 128_000))) / 60_000
    assert unseen == pytest.approx(np.exp(-128 / 60), abs=0.005)  # 12 %
    return Pair(
        faulty=[lambda: visits(draws_with_replacement)],
        right=[lambda: visits(fit_once)],
        is_right=lambda seen: (seen == 1).all(),
    )


@correction("B7")
def test_b7_every_epoch_and_the_last_batch():
    def steps_with_fixed_labels(num_images=1000, batch_size=32):
        logits, labels, steps = np.zeros((num_images, 1), "float32"), np.ones((batch_size, 1), "float32"), 0
        for start in range(0, num_images, batch_size):
            float(from_logits()(labels, logits[start : start + batch_size]))
            steps += 1
        return steps

    def steps(epochs):
        model = course_gan()
        model.fit(points(20), batch_size=8, epochs=epochs, verbose=0)
        return int(model.optimizer.iterations)

    assert steps_with_fixed_labels(num_images=1024) == 32  # the trap: nothing is left over, nothing raises
    return Pair(
        faulty=[steps_with_fixed_labels, lambda: steps(epochs=1)],  # two epochs were asked for
        right=[lambda: steps(epochs=2)],
        is_right=lambda count: count == 6,
        raises=ValueError,
        message="must have the same shape",
    )


@correction("D16")
def test_d16_line_parses_and_format_is_current():
    def names(listing):
        return run_alone(listing).keys()

    return Pair(
        faulty=[lambda: names('line = f"{1}} and [loss: {2}]"'), lambda: names("line = plotting.imshow(1)")],
        right=[lambda: names('line = f"[{1}] and [loss: {2}]"')],
        is_right=lambda found: "line" in found,
        raises=(SyntaxError, NameError),
    )


def test_d16_legacy_format_is_announced(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        dense_judge().save(tmp_path / "judge.keras")
        assert "legacy" not in caplog.text
        dense_judge().save(tmp_path / "judge.h5")
        assert "legacy" in caplog.text


# --- scores -----------------------------------------------------------------------------------------------------------


@correction("B12")
def test_b12_few_images_are_learned_by_heart():
    digits = load_digits()

    def flat(images):
        return gan.to_model_range(images).reshape(len(images), -1)

    train, held_out = flat(digits.train.images), flat(digits.test.images)
    perfect_fakes = train[4000:]  # real digits that serve as the work of a perfect generator

    def gap(num_real, num_steps=200, half=32):
        """Mean logit on the real images that the judge was trained on, less that on held-out real images."""
        rng = np.random.default_rng(0)
        real = train[:num_real][rng.integers(0, num_real, (num_steps, half))]
        fake = perfect_fakes[rng.integers(0, 4000, (num_steps, half))]
        images = np.concatenate([real, fake], axis=1).reshape(-1, 784)
        labels = np.tile(np.repeat([1.0, 0.0], half), num_steps)[:, None]
        judge = keras.Sequential([keras.Input((784,)), layers.Dense(64, "relu"), layers.Dense(1)])
        judge.compile(keras.optimizers.Adam(0.001), from_logits())
        judge.fit(images, labels, batch_size=2 * half, shuffle=False, verbose=0)
        return float(array(judge(train[:num_real])).mean() - array(judge(held_out)).mean())

    return Pair(faulty=[lambda: gap(100)], right=[lambda: gap(4000)], is_right=lambda difference: difference < 1)


def coarse(images):  # [N, 28, 28, 1] -> [N, 49]
    """Means over 4 x 4 places: features enough to tell digits from noise."""
    return images.reshape(len(images), 7, 4, 7, 4).mean(axis=(2, 4)).reshape(len(images), 49)


@correction("B19")
def test_b19_score_tells_digits_from_noise():
    digits = load_digits()
    real, held_out = digits.train.images[:300], digits.test.images[:300]
    static = np.random.default_rng(0).uniform(size=held_out.shape).astype("float32")

    def by_the_judge(images):
        def constant(x):
            return np.full(len(x), 0.5)

        return abs(constant(real).mean() - constant(images).mean())

    def by_distance(images):
        return metrics.frechet_distance(coarse(real), coarse(images))

    return Pair(
        faulty=[lambda: by_the_judge],
        right=[lambda: by_distance],
        is_right=lambda score: score(static) > 5 * score(held_out),
    )


@correction("B23")
def test_b23_coverage_sees_collapse():
    digits = load_digits().test
    train = load_digits().train
    real = coarse(digits.images[:400])
    diverse, classes = coarse(digits.images[400:800]), digits.labels[400:800]
    ones = coarse(train.images[train.labels == 1][:400])

    def quality(images, labels):
        return metrics.precision_recall(real, images)[0]

    def recall(images, labels):
        return metrics.precision_recall(real, images)[1]

    def modes(images, labels):
        return metrics.effective_modes(labels)

    assert modes(diverse, classes) > 9.5
    assert modes(ones, np.ones(400, int)) == pytest.approx(1)
    return Pair(
        faulty=[lambda: quality],
        right=[lambda: recall, lambda: modes],
        is_right=lambda score: score(diverse, classes) > 2 * score(ones, np.ones(400, int)),
    )
