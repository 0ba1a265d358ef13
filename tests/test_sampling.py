"""Sampling: each strategy beside plain NumPy and the library transformers, at its extremes; frequencies of draws."""

import numpy as np
import pytest
from keras import ops
from scipy.special import softmax

from aigc_course.attention import NEVER
from aigc_course.compiled import compiled
from aigc_course.sampling import (
    GREEDY,
    Sampler,
    draw,
    greedy,
    keep_top_k,
    keep_top_p,
    penalise_repetition,
    sample,
    scale_temperature,
    usable,
)

LOGITS = np.random.default_rng(0).normal(size=(3, 7), scale=2).astype("float32")
TIED = np.array([[1.0, 3.0, 3.0, 0.0, 3.0], [2.0, 2.0, 2.0, 2.0, 2.0]], "float32")
LARGEST = np.float32(1 - 2**-24)  # the largest random number that is drawn


def tensor(values):
    return ops.convert_to_tensor(values, "float32")


def numbers(values):
    return ops.convert_to_numpy(values)


def kept(values):
    return numbers(values) > NEVER / 2


# -------------------------------------------------------------------------------------------------- one by one


def test_greedy_takes_the_best_and_of_equals_the_first():
    np.testing.assert_array_equal(numbers(greedy(tensor(LOGITS))), LOGITS.argmax(-1))
    np.testing.assert_array_equal(numbers(greedy(tensor(TIED))), [1, 0])


@pytest.mark.parametrize("temperature", [0.3, 1.0, 7.0])
def test_temperature_divides_the_logits(temperature):
    found = ops.softmax(scale_temperature(tensor(LOGITS), temperature), axis=-1)
    np.testing.assert_allclose(numbers(found), softmax(LOGITS / temperature, axis=-1), atol=1e-6)


@pytest.mark.parametrize("temperature", [1e-300, 1e-40, 1e-31, 1e-8])
def test_coldest_temperatures_are_greedy(temperature):
    chances = Sampler(temperature).probabilities(LOGITS)
    np.testing.assert_array_equal(chances, np.eye(7)[LOGITS.argmax(-1)])
    np.testing.assert_allclose(Sampler(temperature).probabilities(TIED), [[0, 1 / 3, 1 / 3, 0, 1 / 3], [0.2] * 5])


@pytest.mark.parametrize("temperature", [1e8, 1e39, 1e300])
def test_hottest_temperatures_are_uniform_over_what_is_allowed(temperature):
    np.testing.assert_allclose(Sampler(temperature).probabilities(LOGITS), 1 / 7, atol=1e-5)
    forbidden = LOGITS + np.eye(7, dtype="float32")[3] * NEVER
    chances = Sampler(temperature).probabilities(forbidden)
    assert (chances[:, 3] == 0).all()
    np.testing.assert_allclose(np.delete(chances, 3, axis=1), 1 / 6, atol=1e-5)


def test_usable_temperatures_stay_as_they_are():
    assert [usable(value) for value in (0.5, 1, 100)] == [0.5, 1, 100]
    assert usable(1e-300) > 0 and np.isfinite(usable(1e300))


@pytest.mark.parametrize("k", [1, 3, 7])
def test_top_k_keeps_the_k_best(k):
    expected = np.argsort(np.argsort(-LOGITS)) < k
    np.testing.assert_array_equal(kept(keep_top_k(tensor(LOGITS), k)), expected)
    np.testing.assert_array_equal(numbers(keep_top_k(tensor(LOGITS), k))[expected], LOGITS[expected])


@pytest.mark.parametrize("k", [7, 8, 10**6, 10**12])
def test_top_k_of_more_than_there_are_keeps_all(k):
    np.testing.assert_array_equal(numbers(keep_top_k(tensor(LOGITS), k)), LOGITS)
    np.testing.assert_allclose(Sampler(top_k=k).probabilities(LOGITS), softmax(LOGITS, axis=-1), atol=1e-6)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_top_k_keeps_what_is_as_probable_as_the_last(k):
    np.testing.assert_array_equal(kept(keep_top_k(tensor(TIED), k)), [[0, 1, 1, 0, 1], [1] * 5])


def nucleus(row, p):
    """The fewest best tokens that have ``p`` together, by a loop."""
    chances, found = softmax(row.astype("float64")), set()
    for token in np.argsort(-chances, kind="stable"):
        found.add(token)
        if sum(chances[list(found)]) >= p:
            return found
    return found


@pytest.mark.parametrize("p", [1e-45, 1e-9, 0.2, 0.5, 0.9, 0.97])
def test_top_p_keeps_the_nucleus(p):
    for row, found in zip(LOGITS, kept(keep_top_p(tensor(LOGITS), p)), strict=True):
        assert set(np.flatnonzero(found)) == nucleus(row, p)


def test_top_p_by_hand():
    logits = np.log(np.array([[0.5, 0.1, 0.25, 0.15]], "float32"))
    for p, expected in [(0.5 - 1e-4, [1, 0, 0, 0]), (0.6, [1, 0, 1, 0]), (0.8, [1, 0, 1, 1]), (0.95, [1, 1, 1, 1])]:
        np.testing.assert_array_equal(kept(keep_top_p(tensor(logits), p))[0], expected)
    np.testing.assert_array_equal(kept(keep_top_p(tensor(TIED), 0.01)), [[0, 1, 1, 0, 1], [1] * 5])


def test_top_p_of_one_changes_nothing():
    np.testing.assert_allclose(Sampler(top_p=1).probabilities(LOGITS), softmax(LOGITS, axis=-1), atol=1e-6)
    assert Sampler(top_p=1.0).kind == Sampler().kind


def test_repetition_penalty_by_hand():
    logits, seen = np.array([[2.0, -2.0, 2.0, -2.0, 0.0]], "float32"), np.array([[1, 1, 0, 0, 1]], "float32")
    found = numbers(penalise_repetition(tensor(logits), tensor(seen), 1.25))
    np.testing.assert_allclose(found, [[1.6, -2.5, 2.0, -2.0, 0.0]], rtol=1e-6)


@pytest.mark.parametrize("penalty", [1e-300, 1e-40, 1e40, 1e300])
def test_any_penalty_leaves_numbers(penalty):
    seen = np.array([[1, 1, 1, 0, 0, 0, 1]] * 3, "float32")
    logits = LOGITS.copy()
    logits[:, 6] = 0
    chances = Sampler(repetition_penalty=penalty).probabilities(logits, tensor(seen))
    assert np.isfinite(chances).all()
    np.testing.assert_allclose(chances.sum(-1), 1, atol=1e-5)


# -------------------------------------------------------------------------------------------------- together


PARTS = [
    {},
    {"temperature": 0.7},
    {"top_k": 3},
    {"top_p": 0.8},
    {"repetition_penalty": 1.7},
    {"temperature": 1.6, "top_k": 5, "top_p": 0.7, "repetition_penalty": 0.6},
    {"temperature": 0.4, "top_k": 4, "top_p": 0.95, "repetition_penalty": 1.2},
]


@pytest.mark.parametrize("parts", PARTS, ids=str)
def test_a_sampler_is_its_parts_in_their_order(parts):
    seen = np.array([[1, 0, 1, 0, 0, 1, 0], [0] * 7, [1] * 7], "float32")
    logits = LOGITS.astype("float64")
    penalty = parts.get("repetition_penalty", 1)
    logits = np.where(seen > 0, np.where(logits > 0, logits / penalty, logits * penalty), logits)
    logits /= parts.get("temperature", 1)
    for row in logits:
        row[row < np.sort(row)[::-1][parts.get("top_k", 7) - 1]] = -np.inf
        out = set(range(7)) - nucleus(row, parts.get("top_p", 2))
        row[list(out)] = -np.inf
    np.testing.assert_allclose(Sampler(**parts).probabilities(LOGITS, tensor(seen)), softmax(logits, -1), atol=1e-6)


@pytest.mark.parametrize("parts", PARTS, ids=str)
def test_a_sampler_is_the_processors_of_transformers(parts):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    ids = [[0, 2, 5, 2], [1, 1, 1, 1], [6, 5, 4, 3]]
    seen = np.zeros_like(LOGITS)
    np.put_along_axis(seen, np.array(ids), 1, axis=1)
    kinds = {
        "repetition_penalty": lambda value: transformers.RepetitionPenaltyLogitsProcessor(penalty=float(value)),
        "temperature": lambda value: transformers.TemperatureLogitsWarper(float(value)),
        "top_k": transformers.TopKLogitsWarper,
        "top_p": transformers.TopPLogitsWarper,
    }
    theirs = transformers.LogitsProcessorList(make(parts[name]) for name, make in kinds.items() if name in parts)
    expected = torch.softmax(theirs(torch.tensor(ids), torch.tensor(LOGITS)), -1).numpy()
    np.testing.assert_allclose(Sampler(**parts).probabilities(LOGITS, tensor(seen)), expected, atol=1e-6)


def test_temperature_0_is_one_token():
    np.testing.assert_array_equal(GREEDY.probabilities(LOGITS), np.eye(7)[LOGITS.argmax(-1)])
    np.testing.assert_array_equal(Sampler(0, top_k=3, top_p=0.5).probabilities(TIED), np.eye(5)[[1, 0]])
    seen = np.eye(5, dtype="float32")[[1, 1]]
    lowered = Sampler(0, repetition_penalty=2).probabilities(TIED, tensor(seen))
    np.testing.assert_array_equal(lowered, np.eye(5)[[2, 0]])


@pytest.mark.parametrize("options, words", [
    ({"temperature": -0.1}, "temperature"), ({"temperature": np.nan}, "temperature"),
    ({"temperature": np.inf}, "temperature"), ({"top_k": 0}, "top_k"), ({"top_k": 2.5}, "top_k"),
    ({"top_k": np.inf}, "top_k is"), ({"top_k": np.nan}, "top_k is"),
    ({"top_p": 0}, "top_p"), ({"top_p": 1.01}, "top_p"), ({"top_p": np.nan}, "top_p"),
    ({"repetition_penalty": 0}, "repetition_penalty"), ({"repetition_penalty": np.nan}, "repetition_penalty"),
    ({"repetition_penalty": np.inf}, "repetition_penalty"),
])  # fmt: skip
def test_impossible_samplers(options, words):
    with pytest.raises(ValueError, match=words):
        Sampler(**options)


# -------------------------------------------------------------------------------------------------- draws


def test_draw_finds_the_piece_of_the_cumulated_probabilities():
    chances = np.array([0.2, 0.0, 0.5, 0.3, 0.0])
    logits = np.log(np.maximum(chances, 1e-45)).astype("float32") + np.where(chances > 0, 0, NEVER).astype("float32")
    points = [(0, 0), (0.1999, 0), (0.2001, 2), (0.6999, 2), (0.7001, 3), (LARGEST, 3)]
    found = numbers(draw(tensor(np.tile(logits, (len(points), 1))), tensor([point for point, _ in points])))
    np.testing.assert_array_equal(found, [token for _, token in points])


@pytest.mark.parametrize("size", [37, 5000])
@pytest.mark.parametrize("xla", [False, True])
def test_what_has_no_probability_is_never_drawn(size, xla):
    """Sums made in parallel do not rise steadily: at the edges, a token of probability 0 could get a piece."""
    generator = np.random.default_rng(1)
    logits = generator.normal(size=(64, size), scale=2).astype("float32")
    allowed = generator.random(logits.shape) < 0.3
    allowed[:, : size // 9] = allowed[:, -size // 9 :] = False
    function = compiled(draw, xla=xla)
    for chance in (0.0, 1e-9, 0.5, 1 - 1e-6, LARGEST):
        ids = numbers(function(tensor(np.where(allowed, logits, NEVER)), tensor(np.full(64, chance))))
        assert allowed[np.arange(64), ids].all()


@pytest.mark.parametrize("options", [{}, {"temperature": 0.6, "top_k": 5}, {"temperature": 2.0, "top_p": 0.8}], ids=str)
def test_draws_are_as_frequent_as_their_probabilities(options):
    draws = 20_000
    ids = sample(np.repeat(LOGITS[:1], draws, axis=0), **options, seed=4)
    expected = Sampler(**options).probabilities(LOGITS[:1])[0]
    shares = np.bincount(ids, minlength=7) / draws
    assert (np.abs(shares - expected) <= 4 * np.sqrt(expected * (1 - expected) / draws)).all()


def test_sample_follows_its_seed_and_takes_one_row():
    many = np.repeat(LOGITS, 50, axis=0)
    first, same, other = (sample(many, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any() and first.dtype == np.int32 and first.shape == (150,)
    one = sample(LOGITS[0], temperature=0)
    assert isinstance(one, int) and one == LOGITS[0].argmax()
    np.testing.assert_array_equal(sample(tensor(LOGITS), temperature=0), LOGITS.argmax(-1))
    assert sample(np.zeros((0, 4))).shape == (0,)


def test_sample_spares_what_is_ruled_out():
    logits = np.array([0.0, -np.inf, 1.0, -np.inf], "float32")
    assert {sample(logits, temperature=heat, seed=seed) for heat in (1, 1e300) for seed in range(30)} == {0, 2}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_sample_wants_numbers(value):
    with pytest.raises(ValueError, match="NaN or inf"):
        sample([0.0, value, 1.0])
    with pytest.raises(ValueError, match="not for all"):
        sample([[0.0, 1.0], [-np.inf, -np.inf]])


@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (2, 3, 4)], ids=str)
def test_sample_wants_rows(shape):
    with pytest.raises(ValueError, match=r"\[B, V\] or \[V\]"):
        sample(np.zeros(shape))


def test_a_penalty_does_not_bring_back_what_is_ruled_out():
    logits = ops.convert_to_tensor(np.array([[2.0, NEVER, -1.0]], "float32"))
    for penalty in (1e-6, 3.0, 1e6):
        found = Sampler(100.0, repetition_penalty=penalty).probabilities(logits, np.ones((1, 3), "float32"))
        assert found[0, 1] == 0, penalty
