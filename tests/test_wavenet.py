"""WaveNet: logits against plain NumPy, causality, receptive field, loss; writing against a plain loop."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from plain_gpt2 import chooser
from scipy.special import log_softmax

from aigc_course.compiled import compiled
from aigc_course.sampling import GREEDY, Sampler
from aigc_course.wavenet import CausalConv1D, WaveNet, doubling, measured_receptive_field, shifted, steps_seen
from aigc_course.wavenet import receptive_field as field_of

B, T, V, R, K, F = 2, 7, 11, 6, 5, 3
DILATIONS = (1, 4, 2)
FIELD = 15  # 1 + (3 - 1) * (1 + 4 + 2)
START = 8
MIXED = Sampler(temperature=1.3, top_k=9, top_p=0.9, repetition_penalty=1.3)
DRAW = np.random.default_rng(0)
IDS = DRAW.integers(0, V, (B, T))
CONDITIONS = DRAW.normal(size=(4, 48, F)).astype("float32")
# Four rows and 32 columns or fewer, so that the loops are compiled for one table.
PROMPTS = [DRAW.integers(0, V, length).tolist() for length in (1, 4, 2, 6)]
LONG = [DRAW.integers(0, V, length).tolist() for length in (18, 19, 24, 20)]  # read at once, and beyond the field


def numbers(values):
    return ops.convert_to_numpy(values)


def written(rows):
    return [row.tolist() for row in rows]


def logits_of(model, *inputs):
    """The compiled forward pass."""
    return numbers(compiled(lambda *inputs: model(*inputs), model)(*inputs))


def build(seed=1, scale=0.5, **options):
    """A small network with large random weights: what comes next depends on what was read."""
    sizes = {"dilations": DILATIONS, "residual_dim": R, "skip_dim": K, "kernel_size": 3, **options}
    model, draw = WaveNet(V, **sizes), np.random.default_rng(seed)
    for weight in model.trainable_variables:
        weight.assign(draw.normal(size=weight.shape, scale=scale).astype("float32"))
    return model


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture(scope="module")
def conditioned():
    """With conditions and a start."""
    return build(2, condition_dim=F, start_id=START)


# -------------------------------------------------------------------------------------------------- by hand


def weights_of(model):
    """The weights in float64, block by block."""
    take = lambda layer: [numbers(weight).astype("float64") for weight in layer.weights]  # noqa: E731
    blocks = [
        [take(block.convolution), block.condition and take(block.condition), block.residual and take(block.residual),
         take(block.skip), block.convolution.dilation]
        for block in model.blocks
    ]  # fmt: skip
    return take(model.embedding)[0], blocks, take(model.hidden_layer), take(model.output_layer)


def plain_logits(weights, ids, conditions=None):  # [T], [T, F] -> [T, V]
    """Every row by itself, straight from the equations."""
    table, blocks, hidden, output = weights
    x, total = table[ids], 0.0
    for (kernel, bias), condition, residual, skip, dilation in blocks:
        filters = np.tile(bias, (len(x), 1))
        for step in range(len(x)):
            for tap, matrix in enumerate(kernel):
                source = step - (len(kernel) - 1 - tap) * dilation
                if source >= 0:
                    filters[step] += x[source] @ matrix
            if condition:
                filters[step] += conditions[step] @ condition[0]
        width = filters.shape[1] // 2
        z = np.tanh(filters[:, :width]) / (1 + np.exp(-filters[:, width:]))
        total = total + z @ skip[0] + skip[1]
        if residual:
            x = x + z @ residual[0] + residual[1]
    return np.maximum(np.maximum(total, 0) @ hidden[0] + hidden[1], 0) @ output[0] + output[1]


def by_hand(model, prompts, new, sampler=GREEDY, seed=0, conditions=None, given=None):
    """The rows that a plain loop writes: all is read again for every token."""
    weights, rows = weights_of(model), []
    before = [] if model.start_id is None else [model.start_id]
    columns = max(map(len, prompts)) + new
    for number, prompt in enumerate(prompts):
        chance = np.random.default_rng([*np.ravel(seed), number]).random(columns) if sampler.temperature else None
        choose = chooser(
            chance, sampler.temperature, sampler.top_k, sampler.top_p, sampler.repetition_penalty
        )  # fmt: skip
        row = list(prompt)
        for column in range(len(prompt), len(prompt) + new):
            read = before + row
            shown = None if conditions is None else conditions[number][column + 1 - len(read) : column + 1]
            token = -1 if given is None else int(given[number][column])
            row.append(token if token >= 0 else int(choose(plain_logits(weights, read, shown)[-1], read, column)))
        rows.append(row)
    return rows


# -------------------------------------------------------------------------------------------------- convolution


@pytest.mark.parametrize("kernel_size, dilation, length", [(2, 1, 7), (3, 4, 7), (2, 9, 7), (1, 5, 4)])
def test_convolution_is_that_of_keras(kernel_size, dilation, length):
    """Dilations beyond the length too: there only the last part of the kernel acts."""
    x = DRAW.normal(size=(B, length, 5)).astype("float32")
    mine = CausalConv1D(4, kernel_size, dilation)
    theirs = layers.Conv1D(4, kernel_size, padding="causal", dilation_rate=dilation)
    mine.build(x.shape)
    theirs.build(x.shape)
    values = [DRAW.normal(size=weight.shape).astype("float32") for weight in theirs.weights]
    assert [value.shape for value in values] == [(kernel_size, 5, 4), (4,)]
    mine.set_weights(values)
    theirs.set_weights(values)
    np.testing.assert_allclose(numbers(mine(x)), numbers(theirs(x)), atol=1e-5)


def test_convolution_by_hand_and_step_by_step():
    x, convolution = ops.convert_to_tensor([[[1.0], [2.0], [4.0], [8.0], [16.0]]]), CausalConv1D(1, 2, dilation=2)
    convolution.build(x.shape)
    convolution.set_weights([np.array([[[10.0]], [[1.0]]], "float32"), np.array([0.5], "float32")])
    expected = [1.5, 2.5, 14.5, 28.5, 56.5]  # x_t + 10 x_(t-2) + 0.5
    np.testing.assert_allclose(numbers(convolution(x))[0, :, 0], expected)
    queue = ops.zeros((convolution.reach + 1, 1, 1))
    for step in range(5):
        found, queue = compiled(convolution.step, convolution)(x[:, step], queue, np.int32(step))
        assert float(numbers(found)[0, 0]) == expected[step]


# -------------------------------------------------------------------------------------------------- network


def test_logits_are_those_of_plain_numpy(model, conditioned):
    ids, conditions = DRAW.integers(0, V, (B, 21)), CONDITIONS[:B, :21]
    expected = [plain_logits(weights_of(model), row) for row in ids]
    np.testing.assert_allclose(logits_of(model, ids), expected, atol=1e-4)
    expected = [plain_logits(weights_of(conditioned), *row) for row in zip(ids, conditions, strict=True)]
    np.testing.assert_allclose(logits_of(conditioned, ids, conditions), expected, atol=1e-4)


def test_later_tokens_and_conditions_change_no_earlier_logit(conditioned):
    run = compiled(lambda ids, conditions: conditioned(ids, conditions), conditioned)
    before = numbers(run(IDS, CONDITIONS[:B, :T]))
    for step in range(1, T):
        ids, conditions = IDS.copy(), CONDITIONS[:B, :T].copy()
        ids[:, step] = (ids[:, step] + 1) % V
        conditions[:, step] += 1
        for changed in (run(ids, CONDITIONS[:B, :T]), run(IDS, conditions)):
            after = numbers(changed)
            np.testing.assert_array_equal(after[:, :step], before[:, :step])
            assert np.abs(after[:, step] - before[:, step]).max() > 1e-3


@pytest.mark.parametrize("kernel_size, dilations", [(3, DILATIONS), (2, doubling(2, 2)), (1, (3,)), (2, (4, 8))])
def test_receptive_field_is_what_gradients_reach(kernel_size, dilations):
    model = build(kernel_size=kernel_size, dilations=dilations)
    assert model.receptive_field == field_of(kernel_size, dilations) == measured_receptive_field(model)


def test_receptive_field_is_what_tokens_change(model):
    assert model.receptive_field == FIELD and field_of(2, doubling(10)) == 1024
    ids = DRAW.integers(0, V, (1, FIELD + 5))
    changed = np.repeat(ids, ids.shape[1], axis=0)
    np.fill_diagonal(changed, (np.diag(changed) + 1) % V)  # row s differs in step s
    found = logits_of(model, np.concatenate([changed, ids]))[:, -1]
    moved = np.abs(found[:-1] - found[-1]).max(axis=-1)
    assert moved[:5].max() < 1e-5 and moved[5:].min() > 1e-4


def test_steps_seen_tells_a_convolution_that_looks_ahead():
    keras.utils.set_random_seed(0)
    same, causal = layers.Conv1D(4, 5, padding="same"), layers.Conv1D(4, 5, padding="causal")
    assert np.flatnonzero(steps_seen(same, 12, 3, at=6)).tolist() == [4, 5, 6, 7, 8]
    assert np.flatnonzero(steps_seen(causal, 12, 3, at=6)).tolist() == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("end", [layers.Softmax, layers.LayerNormalization, layers.ReLU])
def test_steps_seen_is_not_deceived_by_what_follows(end):
    """A sum behind a softmax or a norm is constant; a ReLU may be shut at one input."""
    for seed in range(3):
        keras.utils.set_random_seed(seed)
        parts = [layers.Conv1D(3, 5, padding="same"), end(), layers.Conv1D(3, 3, padding="same"), end()]
        stack = keras.Sequential(parts)
        assert np.flatnonzero(steps_seen(stack, 12, 3, at=6)).tolist() == [3, 4, 5, 6, 7, 8, 9]


def test_last_block_has_no_residual_and_every_weight_learns(model):
    assert [block.residual is None for block in model.blocks] == [False, False, True]
    block = 3 * R * 2 * R + 2 * R + R * K + K
    assert model.count_params() == V * R + 3 * block + 2 * (R * R + R) + K * K + K + K * V + V


@pytest.mark.parametrize("options, words", [
    ({"residual_dim": 0}, "residual_dim"), ({"skip_dim": 1.5}, "skip_dim"), ({"kernel_size": True}, "kernel_size"),
    ({"dilations": ()}, "dilations"), ({"dilations": (1, 0)}, "dilations"), ({"condition_dim": -1}, "condition_dim"),
    ({"dropout": 1.0}, "dropout"), ({"start_id": V}, "start_id"), ({"padding_id": -2}, "padding_id"),
], ids=str)  # fmt: skip
def test_impossible_sizes(options, words):
    with pytest.raises(ValueError, match=words):
        WaveNet(V, **options)


def test_conditions_that_do_not_fit_are_named(model, conditioned):
    with pytest.raises(ValueError, match="without conditions"):
        model(IDS, CONDITIONS[:B, :T])
    with pytest.raises(ValueError, match=r"needs conditions \[B, T, 3\]"):
        conditioned(IDS)
    with pytest.raises(ValueError, match=r"\(2, 7, 3\) for these tokens, not \(2, 6, 3\)"):
        conditioned(IDS, CONDITIONS[:B, : T - 1])


# -------------------------------------------------------------------------------------------------- scores, training


def test_shifted_gives_every_row_the_condition_of_its_target():
    conditions = np.arange(B * T, dtype="float32").reshape(B, T, 1)
    inputs, targets = shifted(IDS)
    np.testing.assert_array_equal(inputs, IDS[:, :-1])
    np.testing.assert_array_equal(targets, IDS[:, 1:])
    (inputs, shown), targets = shifted(IDS, conditions)
    np.testing.assert_array_equal(shown, conditions[:, 1:])
    (inputs, shown), targets = shifted(IDS, conditions, START)
    np.testing.assert_array_equal(inputs, np.column_stack([[START] * B, IDS[:, :-1]]))
    np.testing.assert_array_equal(targets, IDS)
    np.testing.assert_array_equal(shown, conditions)
    for wrong in (np.zeros((2, 3)), np.zeros((2, 1), int), np.zeros(4, int)):
        with pytest.raises(ValueError, match="whole numbers"):
            shifted(wrong)
    with pytest.raises(ValueError, match=r"\[2, 7, F\] for these tokens, not \(2, 6, 1\)"):
        shifted(IDS, conditions[:, 1:])


def test_log_probabilities_are_the_softmax_by_hand(model, conditioned):
    ids, conditions = DRAW.integers(0, V, (5, T)), DRAW.normal(size=(5, T, F)).astype("float32")
    chances = [log_softmax(plain_logits(weights_of(model), row), -1) for row in ids]
    expected = [[chance[t, row[t + 1]] for t in range(T - 1)] for chance, row in zip(chances, ids, strict=True)]
    found = model.log_probabilities(ids)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(model.log_likelihood(ids), np.sum(expected, -1), atol=1e-3)
    read = np.column_stack([[START] * 5, ids[:, :-1]])
    chances = [
        log_softmax(plain_logits(weights_of(conditioned), *row), -1) for row in zip(read, conditions, strict=True)
    ]
    expected = [[chance[t, row[t]] for t in range(T)] for chance, row in zip(chances, ids, strict=True)]
    np.testing.assert_allclose(conditioned.log_probabilities(ids, conditions), expected, atol=1e-4)
    assert model.log_probabilities(ids[:, :1]).shape == (5, 0)
    assert model.log_probabilities(np.zeros((0, T), int)).shape == (0, T - 1)


def test_next_logits_are_the_last_row(model, conditioned):
    np.testing.assert_allclose(
        model.next_logits(IDS), [plain_logits(weights_of(model), row)[-1] for row in IDS], atol=1e-4
    )
    ids = DRAW.integers(0, V, (1, 20))
    expected = plain_logits(weights_of(conditioned), [START, *ids[0]], CONDITIONS[0, :21])[-1]
    np.testing.assert_allclose(conditioned.next_logits(ids, CONDITIONS[:1, :21])[0], expected, atol=1e-4)
    expected = plain_logits(weights_of(conditioned), [START], CONDITIONS[0, :1])[-1]
    np.testing.assert_allclose(conditioned.next_logits(np.zeros((1, 0)), CONDITIONS[:1, :1])[0], expected, atol=1e-4)
    with pytest.raises(ValueError, match="no row"):
        model.next_logits(np.zeros((0, 3), "int32"))


def test_half_precision_writes(half_precision):
    model = build()
    assert keras.backend.standardize_dtype(model.empty_queues(1)[0].dtype) == half_precision
    for cached in (True, False):
        assert [len(row) for row in model.generate([[1, 2], [3]], 5, MIXED, cached=cached)] == [7, 6]


@pytest.mark.parametrize("padding", [-1, pytest.param(0, marks=pytest.mark.slow)])
def test_padding_does_not_count(padding):
    model = build(padding_id=padding)
    ids = np.array([[1, 2, 3, 4, 5], [6, 7, 8, padding, padding], [9, 10, padding, padding, padding]])
    model.compile("sgd")
    found = model.evaluate(*shifted(ids), batch_size=3, verbose=0, return_dict=True)
    chances = log_softmax(numbers(model(np.maximum(ids[:, :-1], 0))), -1)
    real = ids[:, 1:] != padding
    each = np.take_along_axis(chances, np.maximum(ids[:, 1:, None], 0), -1)[..., 0]
    assert found["loss"] == pytest.approx(-each[real].mean(), abs=1e-4)
    assert found["accuracy"] == pytest.approx((chances.argmax(-1) == ids[:, 1:])[real].mean(), abs=1e-6)
    np.testing.assert_allclose(model.log_probabilities(ids), np.where(real, each, 0), atol=1e-4)


def test_scores_want_rows_of_ids(model):
    for wrong, words in (([[0.5, 1.0]], "whole numbers"), ([0, 1], "whole numbers"), ([[0, V]], "0 to 10; 11 does not"),
                         ([[-1, 0]], "-1 does not"), (np.zeros((2, 0), int), "whole numbers")):  # fmt: skip
        for score in (model.log_probabilities, model.next_logits):
            with pytest.raises(ValueError, match=words):
                score(wrong)
    with pytest.raises(ValueError, match="sample weights"):
        model.compute_loss(y=IDS, y_pred=model(IDS), sample_weight=np.ones(B))


def test_fit_takes_ids_and_conditions():
    model = build(condition_dim=F, start_id=START)
    ids, conditions = DRAW.integers(0, V, (4, T)), CONDITIONS[:, :T]
    before = -model.log_probabilities(ids, conditions).mean()
    model.compile(keras.optimizers.SGD(0.01))
    history = model.fit(*shifted(ids, conditions, START), batch_size=4, epochs=2, verbose=0).history
    assert history["loss"][0] == pytest.approx(before, abs=1e-4) and history["loss"][1] < before
    assert -model.log_probabilities(ids, conditions).mean() < history["loss"][1]


@pytest.mark.slow
def test_learns_ten_rows_by_heart():
    """The rows differ from their first token on, which is predicted from the condition."""
    keras.utils.set_random_seed(0)
    model = WaveNet(V, (1, 2, 4), 16, 16, condition_dim=10, start_id=START)
    ids, conditions = np.random.default_rng(1).integers(0, V, (10, 9)), np.repeat(np.eye(10)[:, None], 9, axis=1)
    assert -model.log_probabilities(ids, conditions).mean() == pytest.approx(np.log(V), abs=0.4)
    model.compile(keras.optimizers.Adam(0.02))
    inputs, targets = shifted(np.tile(ids, (100, 1)), np.tile(conditions, (100, 1, 1)), START)
    model.fit(inputs, targets, batch_size=10, shuffle=False, verbose=0)
    np.testing.assert_array_equal(model.generate([[]] * 10, 9, GREEDY, conditions=conditions), ids)
    assert model.log_probabilities(ids, conditions).min() > np.log(0.5)


@pytest.mark.slow
def test_dropout_acts_in_training_only():
    model = build(dropout=0.3)
    np.testing.assert_array_equal(numbers(model(IDS)), numbers(model(IDS)))
    assert np.abs(numbers(model(IDS, training=True)) - numbers(model(IDS, training=True))).max() > 1e-3


def test_saved_and_restored(conditioned, tmp_path):
    conditioned.save(tmp_path / "model.keras")
    restored = keras.models.load_model(tmp_path / "model.keras")
    assert restored.get_config() == conditioned.get_config() and restored.dilations == DILATIONS
    conditions = CONDITIONS[:B, :T]
    np.testing.assert_array_equal(numbers(restored(IDS, conditions)), numbers(conditioned(IDS, conditions)))
    layer = CausalConv1D(4, 3, 2, name="convolution")
    assert CausalConv1D.from_config(layer.get_config()).get_config() == layer.get_config()


# -------------------------------------------------------------------------------------------------- writing

WAYS = [
    pytest.param(sampler, cached, id=f"{name}-{'cached' if cached else 'slow'}")
    for name, sampler in (("greedy", GREEDY), ("drawn", MIXED))
    for cached in (True, False)
]


@pytest.mark.parametrize("sampler, cached", WAYS)
def test_writing_is_the_plain_loop(model, sampler, cached):
    """Unequal prompts, and beyond the receptive field."""
    expected = by_hand(model, PROMPTS, 20, sampler, 5)
    assert written(model.generate(PROMPTS, 20, sampler, cached, 5)) == expected
    assert len({tuple(row[-8:]) for row in expected}) > 2


@pytest.mark.parametrize("sampler, cached", WAYS[:2])
def test_long_prompts_are_read_at_once(model, sampler, cached):
    """17 tokens and more are read in one go, those beyond the field not at all."""
    assert written(model.generate(LONG, 5, sampler, cached)) == by_hand(model, LONG, 5, sampler)


@pytest.mark.parametrize("cached", [True, False], ids=["cached", "slow"])
def test_conditions_start_and_given_tokens(conditioned, cached):
    """Empty prompts begin behind the start; every fourth token is given, in one row all but one."""
    prompts, given = [[], [3], [], [1, 2]], np.full((4, 22), -1)
    given[:, 2::4] = DRAW.integers(0, V, (4, 5))
    given[3] = DRAW.integers(0, V, 22)
    given[3, :2], given[3, 9] = -1, -1
    expected = by_hand(conditioned, prompts, 20, MIXED, 3, CONDITIONS, given)
    found = written(conditioned.generate(prompts, 20, MIXED, cached, 3, CONDITIONS, given))
    assert found == expected and [len(row) for row in found] == [20, 21, 20, 22]
    assert found[0][2::4] == given[0, 2:20:4].tolist()
    others = CONDITIONS.copy()
    others[:, 12] += 9
    changed = written(conditioned.generate(prompts, 20, MIXED, cached, 3, others, given))
    assert [row[:12] for row in changed] == [row[:12] for row in found] and changed != found


def test_long_prompts_with_conditions(conditioned):
    expected = by_hand(conditioned, LONG, 5, MIXED, 1, CONDITIONS)
    assert written(conditioned.generate(LONG, 5, MIXED, True, 1, CONDITIONS)) == expected


@pytest.mark.slow
def test_cached_is_uncached_for_500_steps():
    """Greedy tokens are the same for 500 steps, and so are the logits of every step, to 1e-4."""
    model = build(7, dilations=doubling(5, 2), kernel_size=2, condition_dim=F)
    assert model.receptive_field == 63
    prompts, conditions = [[1], [7, 2]], DRAW.normal(size=(2, 502, F)).astype("float32")
    rows = model.generate(prompts, 500, GREEDY, conditions=conditions)
    assert written(rows) == written(model.generate(prompts, 500, GREEDY, cached=False, conditions=conditions))
    assert all(len(np.unique(row[-64:])) > 2 for row in rows)
    ids, shown = np.array([row[:501] for row in rows]), conditions[:, 1:]
    expected, queues = logits_of(model, ids, shown), model.empty_queues(2)
    step = compiled(lambda tokens, shown, at, *queues: model.step(tokens, shown, queues, at), model)
    for at in range(501):
        logits, queues = step(ids[:, at].astype("int32"), shown[:, at], np.int32(at), *queues)
        np.testing.assert_allclose(numbers(logits), expected[:, at], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [Sampler(), Sampler(0.6, top_k=3), Sampler(0, repetition_penalty=1.5)], ids=str)
def test_every_kind_of_sampler_is_the_plain_loop(model, sampler):
    assert written(model.generate(PROMPTS, 20, sampler, seed=8)) == by_hand(model, PROMPTS, 20, sampler, 8)


def test_stream_is_generate_as_it_grows(model):
    whole = written(model.generate(PROMPTS, 20, MIXED, seed=5))
    steps = [written(rows) for rows in model.stream(PROMPTS, 20, MIXED, seed=5, every=6)]
    assert steps[-1] == whole and len(steps) == 5  # columns 1 to 6, ... 19 to 24, 25
    assert [len(rows[-1]) for rows in steps] == [7, 13, 19, 25, 26]
    for rows in steps:
        assert all(full[: len(row)] == row for row, full in zip(rows, whole, strict=True))


def test_a_row_depends_on_its_prompt_its_place_and_the_seed(model):
    first, same = (written(model.generate(PROMPTS, 9, MIXED, seed=4)) for _ in range(2))
    assert first == same
    assert written(model.generate(PROMPTS, 9, MIXED, seed=5)) != first
    assert written(model.generate(PROMPTS, 9, MIXED, seed=(4, 1))) != first
    others = written(model.generate([PROMPTS[0], [3, 3], [1], PROMPTS[3]], 9, MIXED, seed=4))
    assert [others[0], others[3]] == [first[0], first[3]]
    assert written(model.generate(PROMPTS[:3], 9, MIXED, seed=4)) == first[:3]
    assert len({tuple(row) for row in written(model.generate([[1, 2]] * 4, 9, Sampler(3.0), seed=4))}) > 1


def test_writing_follows_training(model):
    """What was compiled before the weights changed uses the new ones."""
    model = build(3)
    before = written(model.generate(PROMPTS, 9, GREEDY))
    for weight, value in zip(model.weights, build(4).get_weights(), strict=True):
        weight.assign(value)
    after = written(model.generate(PROMPTS, 9, GREEDY))
    assert after == by_hand(model, PROMPTS, 9) != before


def test_nothing_to_write(model, conditioned):
    assert written(model.generate(PROMPTS, 0)) == PROMPTS
    assert [written(rows) for rows in model.stream(PROMPTS, 0)] == [PROMPTS]
    assert model.generate(np.array([[1, 2]]), 0)[0].dtype == np.int32
    assert written(conditioned.generate([[]], 0, conditions=CONDITIONS[:1])) == [[]]
    given = np.array([[4, 5, 6]])
    assert written(conditioned.generate([[]], 3, conditions=CONDITIONS[:1], given=given)) == [[4, 5, 6]]


@pytest.mark.parametrize("arguments, words", [
    (([], 3), "one prompt"), (([1, 2], 3), "one prompt"), (([[]], 3), "start_id"), (([[0.5]], 3), "whole"),
    (([[1, V]], 3), "0 to 10; 11 does not"), (([[-1, 2]], 3), "-1 does not"), (([[1]], -1), "num_steps"),
    (([[1]], 1.5), "num_steps"), (([[1]], float("inf")), "num_steps"),
], ids=str)  # fmt: skip
def test_impossible_prompts(model, arguments, words):
    with pytest.raises(ValueError, match=words):
        model.generate(*arguments)


def test_impossible_settings(model, conditioned):
    for given, words in (([[1, 2, 3]], r"\[1, 4\]"), ([[2, -1, -1, -1]], "Row 0"), ([[-1, V, 1, 1]], "11 is not"),
                         ([[-1.0] * 4], "whole")):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            model.generate([[1]], 3, given=given)
    with pytest.raises(ValueError, match="without conditions"):
        model.generate([[1]], 3, conditions=CONDITIONS[:1])
    with pytest.raises(ValueError, match=r"needs conditions \[1, 4 or more, 3\]"):
        conditioned.generate([[1]], 3)
    for wrong in (CONDITIONS[:1, :3], CONDITIONS[:2], CONDITIONS[0], CONDITIONS[:1, :, :2]):
        with pytest.raises(ValueError, match=r"\[1, 4 or more, 3\] here, not"):
            conditioned.generate([[1]], 3, conditions=wrong)
    with pytest.raises(ValueError, match="negative"):
        model.generate([[1]], 3, seed=-1)
    with pytest.raises(ValueError, match="every"):
        next(model.stream([[1]], 3, every=0))
