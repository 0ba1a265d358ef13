"""GPT-2: logits against plain NumPy, causality, padding, loss and gradients; writing against a plain loop."""

import keras
import numpy as np
import plain_gpt2
import pytest
from keras import ops
from scipy.special import log_softmax, softmax

from aigc_course import gpt2_writing
from aigc_course.compiled import compiled
from aigc_course.gpt2 import GPT2, GPT2Config, shifted
from aigc_course.sampling import GREEDY, Sampler

B, T, V, C, D, H = 2, 5, 13, 21, 6, 3  # a context longer than what is read step by step, and odd
MIXED = Sampler(temperature=1.3, top_k=9, top_p=0.9, repetition_penalty=1.3)
DRAW = np.random.default_rng(0)
IDS = DRAW.integers(0, V, (B, T))
# Four rows, so that the compiled loops are compiled for one number of rows.
PROMPTS = [DRAW.integers(0, V, length).tolist() for length in (1, 5, 3, 8)]
LONG = [DRAW.integers(0, V, length).tolist() for length in (17, 20, 30, 18)]  # read at once; one beyond the context


def numbers(values):
    return ops.convert_to_numpy(values)


def randomised(model, seed=1, scale=0.7):
    """Large random weights, gains around 1: logits far apart, and what is written depends on what was read."""
    draw = np.random.default_rng(seed)
    for weight in model.trainable_variables:
        values = draw.normal(size=weight.shape, scale=scale)
        weight.assign((values + ("gamma" in weight.path)).astype("float32"))
    return model


def build(**options):
    keras.utils.set_random_seed(3)
    sizes = {"context_length": C, "num_layers": 2, "num_heads": H, "hidden_dim": D, "intermediate_dim": 7}
    return GPT2(GPT2Config(V, **{**sizes, **options}))


@pytest.fixture(scope="module")
def model():
    return randomised(build(), 5)


@pytest.fixture(scope="module")
def weights(model):
    return plain_gpt2.weights_of(model)


@pytest.fixture(scope="module")
def forward(model):
    """The compiled forward pass: [B, T], [B, T] -> [B, T, V]."""
    run = compiled(lambda ids, mask: model(ids, padding_mask=mask), model)
    return lambda ids, mask=None: numbers(run(ids, np.ones(ids.shape, bool) if mask is None else mask))


# -------------------------------------------------------------------------------------------------- network


def test_logits_are_those_of_plain_numpy(model, weights):
    ids = DRAW.integers(0, V, (B, C))
    expected = [plain_gpt2.logits(weights, row, H) for row in ids]
    np.testing.assert_allclose(numbers(model(ids)), expected, atol=1e-4)


def test_later_tokens_change_no_earlier_logit(forward):
    before = forward(IDS)
    for step in range(1, T):
        changed = IDS.copy()
        changed[:, step] = (changed[:, step] + 1) % V
        after = forward(changed)
        np.testing.assert_array_equal(after[:, :step], before[:, :step])
        assert np.abs(after[:, step] - before[:, step]).max() > 1e-3


@pytest.mark.parametrize("side", ["left", "right", "both"])
def test_padding_changes_nothing(forward, side):
    left = {"left": 3, "right": 0, "both": 2}[side]
    real = slice(left, left + T)
    mask = np.zeros((B, T + 3), bool)
    mask[:, real] = True
    for filler in (0, 5):
        padded = np.full((B, T + 3), filler)
        padded[:, real] = IDS
        np.testing.assert_allclose(forward(padded, mask)[:, real], forward(IDS), atol=2e-5)


def test_rows_of_unequal_lengths_are_the_rows_alone(forward):
    padded, mask = np.zeros((2, T), int), np.ones((2, T), bool)
    padded[0], padded[1, 2:], mask[1, :2] = IDS[0], IDS[1, :3], False
    found = forward(padded, mask)
    np.testing.assert_allclose(found[0], forward(IDS)[0], atol=2e-5)
    np.testing.assert_allclose(found[1, 2:], forward(IDS)[1, :3], atol=2e-5)


def test_a_text_longer_than_the_context_is_refused(model):
    with pytest.raises(ValueError, match="22 tokens are more than the context of 21"):
        model(np.zeros((1, C + 1), "int32"))


def test_attention_weights_are_shares_of_what_came_before(model):
    found = model.attention_weights(IDS)
    assert found.shape == (B, 2, H, T, T)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)
    assert (np.triu(found, 1) == 0).all()


def test_the_table_of_embeddings_is_used_twice(model, weights):
    block = 4 * D * D + 4 * D + 2 * 7 * D + 7 + D + 4 * D
    assert model.count_params() == V * D + C * D + 2 * block + 2 * D
    scaled = build()
    scaled.set_weights(model.get_weights())
    table = scaled.token_embedding.embeddings
    table.assign(numbers(table) * np.where(np.arange(V) == V - 1, 2, 1)[:, None])
    ids = IDS % (V - 1)  # the last token is not read: only its logit moves, and doubles
    found, before = numbers(scaled(ids)), numbers(model(ids))
    np.testing.assert_allclose(found[..., -1], 2 * before[..., -1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found[..., :-1], before[..., :-1], atol=1e-5)


@pytest.mark.slow
def test_weights_start_small_and_all_differ():
    model = build(num_layers=3, num_heads=2, hidden_dim=32, intermediate_dim=None)
    parts = [(block.attention, block.feed_forward) for block in model.blocks]
    matrices = [
        numbers(layer.kernel) for look, feed in parts for layer in (look.query, look.key, look.value, feed.widen)
    ]
    writing = [numbers(layer.kernel) for look, feed in parts for layer in (look.output_projection, feed.narrow)]
    for group, deviation in ((matrices, 0.02), (writing, 0.02 / np.sqrt(6))):
        for matrix in group:
            assert matrix.std() == pytest.approx(deviation, rel=0.12) and abs(matrix.mean()) < 0.1 * deviation
    every = [matrix.ravel() for matrix in matrices + writing]
    for number, one in enumerate(every):
        for other in every[:number]:
            size = min(len(one), len(other))
            assert abs(np.corrcoef(one[:size], other[:size])[0, 1]) < 0.2
    assert numbers(model.token_embedding.embeddings).std() == pytest.approx(0.02, rel=0.15)
    assert all((numbers(weight) == 0).all() for weight in model.weights if weight.path.endswith(("bias", "beta")))
    same = build(num_layers=3, num_heads=2, hidden_dim=32, intermediate_dim=None)
    np.testing.assert_array_equal(numbers(same.blocks[2].attention.key.kernel), matrices[9])


# -------------------------------------------------------------------------------------------------- scores


def test_log_probabilities_are_the_softmax_by_hand(model, weights):
    ids = DRAW.integers(0, V, (67, T))  # more rows than are scored at once
    expected = [
        [
            log_softmax(scores)[token]
            for scores, token in zip(plain_gpt2.logits(weights, row[:-1], H), row[1:], strict=True)
        ]
        for row in ids
    ]
    found = model.log_probabilities(ids)
    assert found.shape == (67, T - 1)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(model.log_likelihood(ids), np.sum(expected, -1), atol=3e-4)
    np.testing.assert_allclose(model.log_likelihood(ids[5:6]), np.sum(expected, -1)[5:6], atol=3e-4)


def test_probabilities_of_all_texts_sum_to_one(model):
    rows = np.array([[4, *divmod(number, V)] for number in range(V * V)])
    assert np.exp(model.log_likelihood(rows)).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("shape", [(0, T), (3, 1)])
def test_nothing_to_score(model, shape):
    ids = np.zeros(shape, int)
    assert model.log_probabilities(ids).shape == (shape[0], shape[1] - 1)
    np.testing.assert_array_equal(model.log_likelihood(ids), np.zeros(shape[0]))


def test_next_logits_are_the_last_row(model, weights):
    np.testing.assert_allclose(
        model.next_logits(IDS), [plain_gpt2.logits(weights, row, H)[-1] for row in IDS], atol=1e-4
    )
    long = np.array([LONG[2], LONG[2][::-1]])
    expected = [plain_gpt2.logits(weights, row[-C:], H)[-1] for row in long]
    np.testing.assert_allclose(model.next_logits(long), expected, atol=1e-4)


def test_padding_does_not_count_in_loss_accuracy_and_scores():
    model = randomised(build(padding_id=0))
    ids = np.array([[1, 2, 3, 4, 5], [6, 7, 8, 0, 0], [9, 10, 0, 0, 0]])
    model.compile("sgd")
    found = model.evaluate(*shifted(ids), batch_size=3, verbose=0, return_dict=True)
    chances = log_softmax(numbers(model(ids[:, :-1])), -1)
    real = ids[:, 1:] != 0
    each = np.take_along_axis(chances, ids[:, 1:, None], -1)[..., 0]
    assert found["loss"] == pytest.approx(-each[real].mean(), abs=1e-4)
    assert found["accuracy"] == pytest.approx((chances.argmax(-1) == ids[:, 1:])[real].mean(), abs=1e-6)
    np.testing.assert_allclose(model.log_probabilities(ids), np.where(real, each, 0), atol=1e-4)


def test_shifted_targets_are_one_step_ahead():
    given, wanted = shifted(IDS)
    np.testing.assert_array_equal(given[:, 1:], wanted[:, :-1])
    assert given.dtype == wanted.dtype == np.int32 and given.shape == (B, T - 1)
    for wrong in (np.zeros((2, 3)), np.zeros((2, 1), int), np.zeros(4, int)):
        with pytest.raises(ValueError, match="whole numbers"):
            shifted(wrong)


@pytest.mark.parametrize("wrong", [[[0.5, 1.0]], [0, 1], [[0, V]], [[-1, 0]], np.zeros((2, 0), int)], ids=str)
def test_scores_want_rows_of_ids(model, wrong):
    for score in (model.log_probabilities, model.log_likelihood, model.next_logits):
        with pytest.raises(ValueError, match=r"whole numbers|Token ids"):
            score(wrong)


# -------------------------------------------------------------------------------------------------- training


def test_training_follows_the_gradient_and_writing_follows_training():
    """One step of SGD moves each weight by its slope; what was compiled before it uses the new weights after it."""
    model = randomised(build(num_layers=1), 2, 0.4)
    before, write = [numbers(weight).copy() for weight in model.trainable_variables], Sampler(2.0)
    first = written(model.generate([[1]], 12, write))
    model.compile(keras.optimizers.SGD(1.0))
    model.fit(*shifted(IDS), batch_size=B, epochs=1, verbose=0)
    slopes = [old - numbers(weight) for old, weight in zip(before, model.trainable_variables, strict=True)]
    after = [numbers(weight).copy() for weight in model.trainable_variables]

    def loss():
        return -model.log_probabilities(IDS).astype("float64").mean()

    draw = np.random.default_rng(7)
    for old, new in zip(model.trainable_variables, before, strict=True):
        old.assign(new)
    for weight, old, slope in zip(model.trainable_variables, before, slopes, strict=True):
        way = draw.normal(size=old.shape).astype("float32")
        values = []
        for sign in (1, -1):
            weight.assign(old + sign * 5e-3 * way)
            values.append(loss())
        weight.assign(old)
        assert (slope * way).sum() == pytest.approx((values[0] - values[1]) / 1e-2, abs=3e-3), weight.path
    assert written(model.generate([[1]], 12, write)) == first
    trained = build(num_layers=1)
    for model_ in (model, trained):
        for weight, new in zip(model_.trainable_variables, after, strict=True):
            weight.assign(new)
    np.testing.assert_allclose(model.next_logits(IDS), numbers(trained(IDS))[:, -1], atol=1e-5)
    expected = by_hand(plain_gpt2.weights_of(model), [[1]], 12, write)
    assert written(model.generate([[1]], 12, write)) == expected != first


@pytest.mark.slow
def test_learns_ten_rows_by_heart():
    model = build(hidden_dim=24, intermediate_dim=None, num_heads=2)
    ids = np.column_stack([np.arange(10), np.random.default_rng(1).integers(0, V, (10, 11))])
    model.compile(keras.optimizers.Adam(0.01))
    history = model.fit(*shifted(ids), batch_size=10, epochs=120, verbose=0).history
    assert history["loss"][0] == pytest.approx(np.log(V), abs=0.3)
    assert history["accuracy"][-1] == 1.0
    np.testing.assert_array_equal(model.generate(ids[:, :1], 11), ids)


@pytest.mark.slow
def test_dropout_acts_in_training_only():
    model = randomised(build(dropout=0.3))
    np.testing.assert_array_equal(numbers(model(IDS)), numbers(model(IDS)))
    assert np.abs(numbers(model(IDS, training=True)) - numbers(model(IDS, training=True))).max() > 1e-3


def test_sample_weights_are_refused(model):
    with pytest.raises(ValueError, match="sample weights"):
        model.compute_loss(y=IDS, y_pred=model(IDS), sample_weight=np.ones(B))


def test_saved_and_restored(model, tmp_path):
    model.save(tmp_path / "model.keras")
    restored = keras.models.load_model(tmp_path / "model.keras")
    assert restored.config == model.config and restored.get_config() == model.get_config()
    np.testing.assert_array_equal(numbers(restored(IDS)), numbers(model(IDS)))


@pytest.mark.parametrize("options, words", [
    ({"context_length": 0}, "context_length"), ({"num_layers": 1.0}, "num_layers"), ({"num_heads": True}, "num_heads"),
    ({"num_heads": 4}, "cannot share"), ({"intermediate_dim": 0}, "intermediate_dim"), ({"dropout": 1.0}, "dropout"),
    ({"dropout": float("nan")}, "dropout"), ({"intermediate_dim": 1.5}, "intermediate_dim"),
    ({"intermediate_dim": float("nan")}, "intermediate_dim"), ({"padding_id": V}, "padding_id"),
    ({"padding_id": -1}, "padding_id"), ({"epsilon": -1e-5}, "epsilon"), ({"epsilon": float("nan")}, "epsilon"),
])  # fmt: skip
def test_impossible_sizes(options, words):
    with pytest.raises(ValueError, match=words):
        build(**options)


# -------------------------------------------------------------------------------------------------- writing


def by_hand(weights, prompts, new, sampler=GREEDY, seed=0, end_id=None, forbidden=(), context=C, heads=H):
    """The rows that a plain loop writes, one row at a time."""
    rows = []
    for number, prompt in enumerate(prompts):
        columns = len(prompt) + new
        chance = np.random.default_rng([*np.ravel(seed), number]).random(columns) if sampler.temperature else None
        options = (sampler.temperature, sampler.top_k, sampler.top_p, sampler.repetition_penalty)
        choose = plain_gpt2.chooser(chance, *options, forbidden)
        rows.append(plain_gpt2.write(weights, prompt, columns, context, heads, choose, end_id))
    return rows


def written(rows):
    return [row.tolist() for row in rows]


WAYS = [
    pytest.param(sampler, cached, id=f"{name}-{'cached' if cached else 'slow'}")
    for name, sampler in (("greedy", GREEDY), ("drawn", MIXED))
    for cached in (True, False)
]


@pytest.mark.parametrize("sampler, cached", WAYS)
def test_writing_is_the_plain_loop(model, weights, sampler, cached):
    """Unequal prompts, and far past the context: the window moves twice."""
    expected = by_hand(weights, PROMPTS, 33, sampler, 5)
    assert written(model.generate(PROMPTS, 33, sampler, 5, cached)) == expected
    assert len({tuple(row[-8:]) for row in expected}) > 2


@pytest.mark.parametrize("sampler, cached", WAYS)
def test_long_prompts_are_read_at_once(model, weights, sampler, cached):
    """17 tokens and more are read in one go; one prompt is longer than the context."""
    assert written(model.generate(LONG, 11, sampler, 2, cached)) == by_hand(weights, LONG, 11, sampler, 2)


def test_a_large_cache_grows_with_the_text(model, weights, monkeypatch):
    """In rooms of 5, 10, 15 and 21 columns the same rows are written, and shown as before."""
    plain = [written(rows) for rows in model.stream(PROMPTS, 33, MIXED, 5, every=4)]
    monkeypatch.setattr(gpt2_writing, "ROOM", 5)
    monkeypatch.setattr(gpt2_writing, "LARGE", 1)
    rooms = []
    widened = gpt2_writing._widened
    monkeypatch.setattr(gpt2_writing, "_widened", lambda part, room: rooms.append(room) or widened(part, room))
    assert [written(rows) for rows in model.stream(PROMPTS, 33, MIXED, 5, every=4)] == plain
    assert set(rooms) == {10, 15, C}
    assert written(model.generate(LONG, 11, MIXED, 2)) == by_hand(weights, LONG, 11, MIXED, 2)
    end = plain[-1][1][12]
    expected = by_hand(weights, PROMPTS, 33, MIXED, 5, end_id=end)
    assert written(model.generate(PROMPTS, 33, MIXED, 5, end_id=end)) == expected


@pytest.mark.parametrize("sampler", [GREEDY, MIXED], ids=["greedy", "drawn"])
def test_open_tokens_are_filled_in(model, weights, sampler):
    prompts = [[1, -1, -1, 4, -1, 6], [2], [3, -1, -1], [0, 5, -1, 7, *[-1] * 20, 8]]
    for new in (0, 4):
        found = written(model.generate(prompts, new, sampler, 1))
        assert found == by_hand(weights, prompts, new, sampler, 1)
        for prompt, row in zip(prompts, found, strict=True):
            assert len(row) == len(prompt) + new and min(row) >= 0
            assert all(mine in (-1, theirs) for mine, theirs in zip(prompt, row, strict=False))


def test_a_row_ends_with_its_end(model, weights):
    plain = by_hand(weights, PROMPTS, 33, MIXED, 3)
    end = plain[1][12]  # a token that row 1 writes sooner or later
    prompts = [[*prompt, end, prompt[0]] for prompt in PROMPTS]  # in a prompt it ends nothing
    expected = by_hand(weights, prompts, 29, MIXED, 3, end_id=end)
    assert min(map(len, expected)) < max(map(len, expected))
    for cached in (True, False):
        assert written(model.generate(prompts, 29, MIXED, 3, cached, end_id=end)) == expected


def test_forbidden_tokens_are_not_written(model, weights):
    forbidden = (2, 5, 7, 11)
    for sampler in (GREEDY, MIXED, Sampler(1e300), Sampler(1e-300)):
        found = model.generate(PROMPTS, 33, sampler, 1, forbidden=forbidden)
        new = [row[len(prompt) :] for row, prompt in zip(found, PROMPTS, strict=True)]
        assert not np.isin(np.concatenate(new), forbidden).any()
        if sampler in (GREEDY, MIXED):
            assert written(found) == by_hand(weights, PROMPTS, 33, sampler, 1, forbidden=forbidden)


def test_half_precision_writes(half_precision):
    model = build()
    assert keras.backend.standardize_dtype(model.empty_cache(1, 2)[0].dtype) == half_precision
    for cached in (True, False):
        assert [len(row) for row in model.generate([[1, 2], [3]], 4, MIXED, cached=cached)] == [6, 5]


@pytest.mark.parametrize("sampler, every", [(GREEDY, 1), (MIXED, 4)])
def test_stream_is_generate_as_it_grows(model, sampler, every):
    whole = written(model.generate(PROMPTS, 33, sampler, 5))
    steps = [written(rows) for rows in model.stream(PROMPTS, 33, sampler, 5, every=every)]
    assert steps[-1] == whole
    lengths = [len(rows[-1]) for rows in steps]
    assert lengths == sorted(lengths) and max(np.diff(lengths)) <= every
    if every == 1:
        assert [len(rows[0]) for rows in steps[:33]] == list(range(2, 35))
    for rows in steps:
        assert all(full[: len(row)] == row for row, full in zip(rows, whole, strict=True))


def test_a_row_depends_on_its_prompt_its_place_and_the_seed(model):
    first, same = (written(model.generate(PROMPTS, 9, MIXED, 4)) for _ in range(2))
    assert first == same
    assert written(model.generate(PROMPTS, 9, MIXED, 5)) != first
    assert written(model.generate(PROMPTS, 9, MIXED, (4, 1))) != first
    others = written(model.generate([PROMPTS[0], [3, 3], [1], PROMPTS[3]], 9, MIXED, 4))
    assert [others[0], others[3]] == [first[0], first[3]]
    twice = written(model.generate([[1, 2]] * 4, 9, Sampler(3.0), 4))
    assert len(set(map(tuple, twice))) > 1


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [GREEDY, MIXED], ids=["greedy", "drawn"])
def test_a_batch_is_its_rows_one_by_one(model, sampler):
    together = written(model.generate(PROMPTS[:3], 33, sampler, 5))
    assert together == written(model.generate(PROMPTS, 33, sampler, 5))[:3]
    assert together[0] == written(model.generate(PROMPTS[:1], 33, sampler, 5))[0]
    if sampler is GREEDY:
        assert together == [written(model.generate([prompt], 33))[0] for prompt in PROMPTS[:3]]


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [
    Sampler(), Sampler(0.6, top_k=3), Sampler(1.2, top_p=0.7), Sampler(0, repetition_penalty=1.5),
    Sampler(top_k=10**12),
], ids=str)  # fmt: skip
def test_every_kind_of_sampler_is_the_plain_loop(model, weights, sampler):
    told = Sampler(sampler.temperature, min(sampler.top_k or V, V), sampler.top_p, sampler.repetition_penalty)
    assert written(model.generate(PROMPTS, 33, sampler, 8)) == by_hand(weights, PROMPTS, 33, told, 8)


@pytest.mark.slow
@pytest.mark.parametrize("context", [1, 2, 3, 16])
def test_contexts_of_other_lengths(context):
    model = randomised(build(context_length=context))
    plain = plain_gpt2.weights_of(model)
    for cached in (True, False):
        for prompts in (PROMPTS, LONG):
            expected = by_hand(plain, prompts, 13, MIXED, 8, context=context)
            assert written(model.generate(prompts, 13, MIXED, 8, cached)) == expected


def test_nothing_to_write(model):
    assert written(model.generate(PROMPTS, 0)) == PROMPTS
    assert [written(rows) for rows in model.stream(PROMPTS, 0)] == [PROMPTS]
    assert model.generate(np.array([[1, 2]]), 0)[0].dtype == np.int32


@pytest.mark.parametrize("arguments, words", [
    (([], 3), "one prompt"), (([[]], 3), "one prompt"), (([1, 2], 3), "one prompt"), (([[0.5]], 3), "whole"),
    (([[V]], 3), "Token ids"), (([[-1, 2]], 3), "not the first"), (([[1, -2]], 3), "Token ids"),
    (([[1]], -1), "max_new_tokens"), (([[1]], 1.5), "max_new_tokens"), (([[1]], np.inf), "max_new_tokens"),
    (([[1]], np.nan), "max_new_tokens"),
], ids=str)  # fmt: skip
def test_impossible_prompts(model, arguments, words):
    with pytest.raises(ValueError, match=words):
        model.generate(*arguments)


@pytest.mark.parametrize("options, words", [
    ({"forbidden": [V]}, "Forbidden"), ({"forbidden": [-1]}, "Forbidden"), ({"forbidden": range(V)}, "nothing is left"),
    ({"seed": -1}, "negative"), ({"end_id": V}, "end_id"), ({"end_id": -1}, "end_id"),
], ids=str)  # fmt: skip
def test_impossible_settings(model, options, words):
    with pytest.raises(ValueError, match=words):
        model.generate([[1]], 3, **options)
    for every in (0, 1.5, np.inf):
        with pytest.raises(ValueError, match="every"):
            next(model.stream([[1]], 3, every=every))


def test_probabilities_shown_are_those_drawn_from(model, weights):
    """20,000 draws of one token behind one prompt."""
    prompts = [[1, 2, 3]] * 4096
    first = np.concatenate([np.array(model.generate(prompts, 1, Sampler(1.5), seed))[:, 3] for seed in range(3)])
    expected = softmax(plain_gpt2.logits(weights, [1, 2, 3], H)[-1] / 1.5)
    shares = np.bincount(first, minlength=V) / len(first)
    assert (np.abs(shares - expected) <= 4.5 * np.sqrt(expected * (1 - expected) / len(first)) + 1e-9).all()


def test_rows_longer_than_the_context_are_refused_after_other_lengths():
    model = GPT2(GPT2Config(11, 8, 1, 1, 4))
    for length in (5, 6, 7, 9):
        assert model.log_probabilities(np.ones((1, length), "int32")).shape == (1, length - 1)
    with pytest.raises(ValueError, match="19 tokens are more than the context of 8"):
        model.log_probabilities(np.ones((1, 20), "int32"))
