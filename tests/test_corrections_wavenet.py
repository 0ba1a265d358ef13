"""Corrections of WaveNet: causality, dilation, an output for every step, shifted targets, and no latent variable.

See tests/ledger.py. B batch, T tokens, D width, V vocabulary, L layers.
"""

import itertools

import keras
import numpy as np
import pytest
from keras import layers
from ledger import Pair, array, correction, numbers, sharpened
from scipy.special import softmax

from aigc_course import tour
from aigc_course.sampling import GREEDY
from aigc_course.wavenet import CausalConv1D, WaveNet, doubling, shifted, steps_seen

B, T, V, D = 2, 7, 11, 6
IDS = np.random.default_rng(0).integers(0, V, (B, T)).astype("int32")


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def listing_convolutions(count=3):
    """The convolutions of the listing: width 5, ``same``, no dilation."""
    return [layers.Conv1D(D, 5, padding="same", activation="tanh") for _ in range(count)]


def listing_model(steps=T, head=True):
    """The listing's network; without its head, what stands before the LSTM."""
    token_ids = keras.Input((steps,), dtype="int32")
    x = layers.Embedding(V, D)(token_ids)
    for convolution in listing_convolutions():
        x = convolution(x)
    return keras.Model(token_ids, layers.Dense(V, activation="softmax")(layers.LSTM(D)(x)) if head else x)


def course_model(seed=1, **options):
    return sharpened(WaveNet(V, (1, 2, 4), D, D, **options), seed)


def stacked(convolutions):
    """A function of [1, T, D] that applies layers one after the other."""

    def network(x):
        for convolution in convolutions:
            x = convolution(x)
        return x

    network(np.zeros((1, 2, D), "float32"))
    return network


# --- what is seen -----------------------------------------------------------------------------------------------------


@correction("A14")
def test_a14_a_later_token_moves_no_earlier_output():
    changed = IDS.copy()
    changed[:, 4] = (changed[:, 4] + 1) % V

    def moves(model):
        """How far the outputs before step 4 move, and those from it on."""
        move = np.abs(array(model(changed)) - array(model(IDS))).max(axis=(0, 2))
        assert move[4:].max() > 1e-3, "a token that moves nothing proves nothing"
        return move[:4].max()

    same = sharpened(listing_model(head=False))
    assert moves(same) > 1e-2
    return Pair(
        faulty=[lambda: moves(same)],
        right=[lambda: moves(course_model()), lambda: moves(course_model(kernel_size=3))],
        is_right=lambda move: move < 1e-6,
    )


@correction("A15")
def test_a15_dilation_doubles_what_is_seen():
    """Steps that the output of step 20 of 40 depends on: (past and own, future), for three layers and for four."""

    def seen(convolutions):
        steps = steps_seen(stacked(convolutions), 40, D, at=20)
        return int(steps[:21].sum()), int(steps[21:].sum())

    def dilated(count):
        return [CausalConv1D(D, 2, dilation) for dilation in doubling(count)]

    def undilated(count):
        return [CausalConv1D(D, 5) for _ in range(count)]

    assert seen(listing_convolutions()) == (7, 6), "13 steps, 6 of them in the future"
    assert seen(undilated(3)) == (13, 0)
    assert seen(dilated(4)) == (16, 0) and WaveNet(V, doubling(4), D, D).receptive_field == 16
    lstm = layers.LSTM(D)
    through = steps_seen(stacked([*listing_convolutions(), lambda x: lstm(x)[:, None]]), 40, D, at=0)
    assert through.all(), "trap: measured through the LSTM, every step has a gradient"

    def is_right(case):
        (three, future), (four, _) = case
        return future == 0 and four == 2 * three

    return Pair(
        faulty=[
            lambda: [seen(listing_convolutions(3)), seen(listing_convolutions(4))],
            lambda: [seen(undilated(3)), seen(undilated(4))],
        ],
        right=[
            lambda: [seen(dilated(3)), seen(dilated(4))],
            lambda: [(WaveNet(V, doubling(count), D, D).receptive_field, 0) for count in (3, 4)],
        ],
        is_right=is_right,
    )


@correction("A16")
def test_a16_every_step_has_its_output():
    listing, course = listing_model(), course_model()
    names = {type(layer).__name__ for layer in listing.layers}
    assert "LSTM" in names and not names & {"Multiply", "Add"}, "no gate and nothing that is added"
    for block in course.blocks:  # a block whose 1x1 layers say nothing lets the stream pass
        block.skip.set_weights([weight * 0 for weight in block.skip.get_weights()])
        if block.residual is not None:
            block.residual.set_weights([weight * 0 for weight in block.residual.get_weights()])
            x = numbers(B, T, D)
            np.testing.assert_array_equal(array(block(x)[0]), x)
    return Pair(
        faulty=[lambda: array(listing(IDS)).shape],
        right=[lambda: array(course(IDS)).shape],
        is_right=lambda shape: shape == (B, T, V),
    )


# --- the targets ------------------------------------------------------------------------------------------------------


@correction("A17")
def test_a17_targets_are_the_input_one_step_later():
    """Each token follows from the one before it. Next-token accuracy on new rows, of two causal networks."""
    rows = [np.random.default_rng(seed).integers(0, V, 32) for seed in (0, 1)]
    train, held_out = ([(start + 3 * np.arange(9)) % V for start in some] for some in rows)
    train, held_out = np.array(train, "int32"), np.array(held_out, "int32")

    def trained(inputs, targets):
        model = WaveNet(V, (1, 2), 16, 16)
        model.compile(keras.optimizers.Adam(0.03))
        loss = model.fit(inputs, targets, batch_size=32, epochs=60, verbose=0).history["loss"][-1]
        assert loss < 0.05, "either way the loss falls"
        return float((array(model(held_out[:, :-1])).argmax(-1) == held_out[:, 1:]).mean())

    as_written = keras.losses.categorical_crossentropy
    with pytest.raises(ValueError, match="shape"):  # T targets against V probabilities
        as_written(IDS, listing_model()(IDS))
    ids = np.arange(2 * V).reshape(2, V) % V
    shares = array(as_written(ids.astype("float32"), listing_model(V)(ids)))
    assert np.isfinite(shares).all(), "trap: with T = V it takes ids for shares"
    return Pair(
        faulty=[lambda: trained(train, train)],
        right=[lambda: trained(*shifted(train))],
        is_right=lambda accuracy: accuracy > 0.9,
    )


# --- what the documents say -------------------------------------------------------------------------------------------


@correction("A18")
def test_a18_wavenet_has_no_latent_variable():
    """The sum over all rows of 4 tokens of the probability that a model can give by one pass through it.

    WaveNet gives the probability itself, so that the sum is 1. A model with a latent variable gives a bound that lies
    below: here two numbers z, each with its own distribution of tokens, and an encoder that knows only the prior.
    """
    rows = np.array(list(itertools.product(range(3), repeat=4)), "int32")
    tokens = softmax(3 * numbers(2, 3), -1)  # p(token | z)

    def bound_of_latent_model():
        given_z = np.log(tokens)[:, rows].sum(-1)  # log p(row | z), [2, rows]
        return float(np.exp(given_z.mean(0)).sum())  # the divergence of encoder and prior is 0

    def wavenet():
        model = sharpened(WaveNet(3, (1, 2), D, D, start_id=0))
        assert not hasattr(model, "encoder")
        steps = [len(rows[0]) for rows in model.stream([[]], 4, GREEDY, every=1)]
        assert steps == [1, 2, 3, 4], "a token at a time, each from those before it"
        return float(np.exp(model.log_likelihood(rows)).sum())

    exact = np.exp(np.log(tokens)[:, rows].sum(-1)).mean(0).sum()
    assert exact == pytest.approx(1, abs=1e-5) and bound_of_latent_model() < 0.95
    return Pair(faulty=[bound_of_latent_model], right=[wavenet], is_right=lambda total: abs(total - 1) < 1e-4)


@correction("A21")
def test_a21_wavenet_is_a_model_of_sound():
    def fields(family_of):
        """The fields under which a map names WaveNet."""
        return {field for examples in family_of for field, named in examples.items() if "WaveNet" in named}

    return Pair(
        faulty=[lambda: fields([{"video": "VideoGAN, WaveNet"}])],
        right=[lambda: fields([family.examples for family in tour.FAMILIES])],
        is_right=lambda found: found == {"sound"},
    )
