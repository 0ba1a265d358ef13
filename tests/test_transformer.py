"""Transformer: attention against Keras, blocks against their formulas, masks, gradients; writing beside plain loops."""

import math

import keras
import numpy as np
import pytest
from keras import ops
from scipy.special import log_softmax, softmax
from translators import demand_causality, forward, numbers, padded

from aigc_course.attention import scaled_dot_product_attention
from aigc_course.compiled import compiled, input_gradient
from aigc_course.runtime import CourseError
from aigc_course.token_losses import masked_mean
from aigc_course.transformer import (
    FeedForward,
    MultiHeadAttention,
    SinusoidalPositions,
    Transformer,
    TransformerBlock,
    causal_mask,
    sinusoidal_table,
)
from aigc_course.vocabulary import END, PAD, START, Vocabulary

B, T, S, D, H = 2, 5, 7, 6, 3
LETTERS, DIGITS = Vocabulary("abcdefg"), Vocabulary("12345")
TEXTS = ["abc", "g", "gfedcba", "aabb", "fad"]
DRAW = np.random.default_rng(0)
QUERIES, MEMORY = (DRAW.normal(size=(B, length, D)).astype("float32") for length in (T, S))
PADDED = np.array([[1] * S, [1] * 4 + [0] * (S - 4)], bool)


def randomised(model, seed=1, scale=0.6):
    """``model`` with other weights than it starts with: no bias is 0, no gain 1."""
    draw = np.random.default_rng(seed)
    for weight in model.trainable_variables:
        values = draw.normal(size=weight.shape, scale=scale) + ("gamma" in weight.path)
        weight.assign(values.astype("float32"))
    return model


# -------------------------------------------------------------------------------------------------- masks, positions


def test_causal_mask_looks_back_only():
    np.testing.assert_array_equal(numbers(causal_mask(3)), [[1, 0, 0], [1, 1, 0], [1, 1, 1]])


def test_sinusoids_by_hand():
    table = sinusoidal_table(T, D)
    for step in range(T):
        for pair in range(D // 2):
            angle = step / 10000 ** (2 * pair / D)
            assert table[step, 2 * pair] == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[step, 2 * pair + 1] == pytest.approx(math.cos(angle), abs=1e-6)
    with pytest.raises(ValueError, match="even"):
        sinusoidal_table(3, 5)


def test_positions_are_added_from_the_start_given():
    layer = SinusoidalPositions(9)
    np.testing.assert_allclose(numbers(layer(QUERIES)), QUERIES + sinusoidal_table(T, D), atol=1e-6)
    np.testing.assert_allclose(numbers(layer(QUERIES, start=3)), QUERIES + sinusoidal_table(9, D)[3:8], atol=1e-6)
    assert layer.weights == []


# -------------------------------------------------------------------------------------------------- attention


def test_scaled_attention_by_hand():
    queries, keys = np.array([[[2.0, 0.0]]], "float32"), np.array([[[1.0, 5.0], [0.0, 7.0], [9.0, 9.0]]], "float32")
    values = np.array([[[1.0], [10.0], [100.0]]], "float32")
    found, weights = scaled_dot_product_attention(queries, keys, values, np.array([[[True, True, False]]]))
    first = math.exp(2 / math.sqrt(2)) / (math.exp(2 / math.sqrt(2)) + 1)
    np.testing.assert_allclose(numbers(weights)[0, 0], [first, 1 - first, 0], atol=1e-6)
    np.testing.assert_allclose(numbers(found)[0, 0], [first + 10 * (1 - first)], rtol=1e-5)


def test_who_may_look_at_nothing_looks_at_all_alike():
    _, weights = scaled_dot_product_attention(QUERIES, MEMORY, MEMORY, np.zeros((B, T, S), bool))
    np.testing.assert_allclose(numbers(weights), 1 / S, rtol=1e-6)


def test_masks_hold_in_half_precision():
    """float16 ends at 65,504: a hidden score of -1e9 would be -inf, and a row of those NaN."""
    queries, memory = (ops.cast(ops.convert_to_tensor(values), "float16") for values in (QUERIES, MEMORY))
    mask = np.arange(S) < np.array([0, 1, 2, 3, 3])[:T, None]
    _, weights = scaled_dot_product_attention(queries, memory, memory, ops.convert_to_tensor(mask))
    weights = numbers(weights)
    np.testing.assert_allclose(weights[:, 0], 1 / S, rtol=1e-2)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-2)
    assert (weights[:, 1:][:, ~mask[1:]] == 0).all()


def test_what_does_not_count_spoils_no_mean():
    values, mask = np.array([[np.inf, 1.0, np.nan, 4.0]], "float32"), np.array([[False, True, False, True]])
    assert float(masked_mean(ops.convert_to_tensor(values), ops.convert_to_tensor(mask))) == 2.5
    assert float(masked_mean(ops.convert_to_tensor(values), ops.convert_to_tensor(~mask & mask))) == 0


MASKS = {
    "none": None,
    "causal": np.tril(np.ones((T, T), bool))[None],
    "padding": np.array([[1] * T, [1] * 3 + [0] * 2], bool)[:, None, :],
    "both": np.tril(np.ones((T, T), bool)) & np.array([[1] * T, [1] * 3 + [0] * 2], bool)[:, None, :],
    "memory": None,
    "padded memory": PADDED[:, None, :],
}


def keras_twin(layer):
    """``keras.layers.MultiHeadAttention`` with the weights of ours."""
    twin = keras.layers.MultiHeadAttention(H, D // H)
    twin.build((B, T, D), (B, S, D))
    for part, name in ((layer.query, "query"), (layer.key, "key"), (layer.value, "value")):
        dense = getattr(twin, f"{name}_dense")
        dense.kernel.assign(numbers(part.kernel).reshape(D, H, D // H))
        dense.bias.assign(numbers(part.bias).reshape(H, D // H))
    twin.output_dense.kernel.assign(numbers(layer.output_projection.kernel).reshape(H, D // H, D))
    twin.output_dense.bias.assign(numbers(layer.output_projection.bias))
    return twin


@pytest.mark.parametrize("kind", MASKS)
def test_attention_is_keras_attention(kind):
    layer = MultiHeadAttention(H, D)
    layer.build((B, T, D))
    randomised(layer)
    memory, mask = MEMORY if "memory" in kind else None, MASKS[kind]
    mine = layer(QUERIES, memory, None if mask is None else mask[:, None], return_weights=True)
    seen = QUERIES if memory is None else memory
    theirs = keras_twin(layer)(QUERIES, seen, attention_mask=mask, return_attention_scores=True)
    for ours, reference in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(numbers(ours), numbers(reference), atol=1e-5)


def test_heads_share_the_width():
    for heads, width in [(4, 6), (0, 6), (3, 0)]:
        with pytest.raises(ValueError, match="cannot share"):
            MultiHeadAttention(heads, width)


def test_matrices_of_one_initialiser_differ():
    """One initialiser object gives the same values at every call; the matrices must not begin as copies."""
    start = keras.initializers.RandomNormal(stddev=0.02)
    block = TransformerBlock(
        H, D, D, cross_attention=True, kernel_initializer=start, output_initializer=keras.initializers.RandomNormal()
    )
    block.build((B, T, D))
    squares = [numbers(weight) for weight in block.trainable_variables if tuple(weight.shape) == (D, D)]
    assert len(squares) == 10
    assert all(np.abs(a - b).max() > 1e-3 for i, a in enumerate(squares) for b in squares[:i])


# -------------------------------------------------------------------------------------------------- blocks


def norm_by_hand(x, layer):
    x = x.astype("float64")
    scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return scaled * numbers(layer.gamma) + numbers(layer.beta)


def dense_by_hand(x, layer):
    return x @ numbers(layer.kernel).astype("float64") + numbers(layer.bias)


def attention_by_hand(x, memory, layer, mask):
    """[B, T, D], [B, S, D], [B or 1, T or 1, S] -> [B, T, D], head by head."""
    queries = dense_by_hand(x, layer.query)
    keys, values = (dense_by_hand(memory, part) for part in (layer.key, layer.value))
    width, found = D // H, []
    for head in range(H):
        part = slice(head * width, (head + 1) * width)
        scores = np.einsum("btd,bsd->bts", queries[..., part], keys[..., part]) / width**0.5
        found.append(softmax(np.where(mask, scores, -np.inf), -1) @ values[..., part])
    return dense_by_hand(np.concatenate(found, -1), layer.output_projection)


def gelu_by_hand(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def feed_forward_by_hand(x, layer):
    return dense_by_hand(gelu_by_hand(dense_by_hand(x, layer.widen)), layer.narrow)


@pytest.fixture(scope="module", params=[True, False], ids=["pre-norm", "post-norm"])
def block(request):
    built = TransformerBlock(H, D, 11, norm_first=request.param, cross_attention=True)
    built.build((B, T, D))
    return randomised(built, 3)


def test_feed_forward_by_hand():
    layer = FeedForward(11, D)
    layer.build((B, T, D))
    randomised(layer)
    np.testing.assert_allclose(numbers(layer(QUERIES)), feed_forward_by_hand(QUERIES, layer), atol=1e-5)


def test_block_is_its_formula(block):
    causal, seen = MASKS["causal"], PADDED[:, None, :]
    parts = [
        (block.attention_norm, lambda x: attention_by_hand(x, x, block.attention, causal)),
        (block.cross_norm, lambda x: attention_by_hand(x, MEMORY, block.cross_attention, seen)),
        (block.feed_forward_norm, lambda x: feed_forward_by_hand(x, block.feed_forward)),
    ]
    x = QUERIES.astype("float64")
    for norm, part in parts:
        x = x + part(norm_by_hand(x, norm)) if block.norm_first else norm_by_hand(x + part(x), norm)
    found = block(QUERIES, attention_mask=causal_mask(T), memory=MEMORY, memory_mask=PADDED[:, None, None, :])
    np.testing.assert_allclose(numbers(found), x, atol=2e-5, rtol=1e-5)


def test_block_of_zeros_hands_its_input_on():
    block = TransformerBlock(H, D)
    block.build((B, T, D))
    for weight in block.trainable_variables:
        weight.assign(np.zeros(weight.shape, "float32"))
    np.testing.assert_array_equal(numbers(block(QUERIES)), QUERIES)


def test_block_changes_no_earlier_step(block):
    run = compiled(lambda x: block(x, attention_mask=causal_mask(T), memory=MEMORY, memory_mask=None), block)
    before = numbers(run(QUERIES))
    for step in range(1, T):
        changed = QUERIES.copy()
        changed[:, step] += 1 + np.arange(D)
        after = numbers(run(changed))
        np.testing.assert_array_equal(after[:, :step], before[:, :step])
        assert np.abs(after[:, step] - before[:, step]).max() > 1e-3


def test_block_step_by_step_is_the_block_at_once(block):
    def steps(x, memory):
        noted, found = block.cross_attention.keys_and_values(memory), []
        cache = [ops.zeros((B, H, T + 2, D // H)) for _ in range(2)]
        for at in range(T):
            out, *cache = block.step(x[:, at : at + 1], *cache, at, noted, PADDED[:, None, None, :])
            found.append(out)
        return ops.concatenate(found, axis=1)

    found = compiled(steps, block)(ops.convert_to_tensor(QUERIES), ops.convert_to_tensor(MEMORY))
    expected = block(QUERIES, attention_mask=causal_mask(T), memory=MEMORY, memory_mask=PADDED[:, None, None, :])
    np.testing.assert_allclose(numbers(found), numbers(expected), atol=1e-5)


def test_gradient_of_a_block_by_finite_differences(block):
    """The slope of a weighted sum of all outputs in a few directions of the input."""
    outer = ops.convert_to_tensor(np.random.default_rng(4).normal(size=(B, T, D)), "float32")
    total = lambda x: ops.sum(block(x, attention_mask=causal_mask(T), memory=MEMORY) * outer, axis=(1, 2))  # noqa: E731
    run = compiled(total, block)
    found = numbers(input_gradient(total, ops.convert_to_tensor(QUERIES)))
    for seed in range(5):
        way = np.random.default_rng(seed).normal(size=QUERIES.shape).astype("float32")
        slope = (numbers(run(QUERIES + 4e-3 * way)) - numbers(run(QUERIES - 4e-3 * way))) / 8e-3
        np.testing.assert_allclose((found * way).sum((1, 2)), slope, rtol=2e-2, atol=2e-2)


def test_memory_goes_with_cross_attention(block):
    with pytest.raises(ValueError, match="needs a memory"):
        block(QUERIES)
    plain = TransformerBlock(H, D)
    with pytest.raises(ValueError, match="takes none"):
        plain(QUERIES, memory=MEMORY)


def test_dropout_acts_in_training_only():
    block = TransformerBlock(H, D, dropout=0.5)
    first, same = numbers(block(QUERIES)), numbers(block(QUERIES))
    np.testing.assert_array_equal(first, same)
    drawn = [numbers(block(QUERIES, training=True)) for _ in range(2)]
    assert np.abs(drawn[0] - drawn[1]).max() > 1e-3 and np.abs(drawn[0] - first).max() > 1e-3


@pytest.mark.parametrize("layer", [
    SinusoidalPositions(9), MultiHeadAttention(H, D, 0.1), FeedForward(11, D, 0.1),
    TransformerBlock(H, D, 11, 0.1, norm_first=False, cross_attention=True, epsilon=1e-3),
], ids=lambda layer: type(layer).__name__)  # fmt: skip
def test_layers_are_made_again_from_their_settings(layer):
    assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()


@pytest.mark.parametrize("make", [
    lambda **starts: MultiHeadAttention(H, D, **starts), lambda **starts: FeedForward(D, D, **starts),
    lambda **starts: TransformerBlock(H, D, D, **starts),
], ids=["attention", "feed-forward", "block"])  # fmt: skip
def test_layers_made_again_start_alike(make):
    layer = make(kernel_initializer=keras.initializers.Constant(0.25), output_initializer="ones")
    again = type(layer).from_config(layer.get_config())
    again.build((B, T, D))
    squares = [numbers(weight) for weight in again.trainable_variables if tuple(weight.shape) == (D, D)]
    assert {square.min() for square in squares} == {square.max() for square in squares} == {0.25, 1.0}
    random = make(kernel_initializer=keras.initializers.RandomNormal(stddev=0.02))
    again = type(random).from_config(random.get_config())
    again.build((B, T, D))
    squares = [numbers(weight) for weight in again.trainable_variables if tuple(weight.shape) == (D, D)]
    assert all(square.std() < 0.1 for square in squares)
    assert all(np.abs(a - b).max() > 1e-3 for i, a in enumerate(squares) for b in squares[:i])


# -------------------------------------------------------------------------------------------------- encoder, decoder


def build(**options):
    keras.utils.set_random_seed(3)
    sizes = {"num_layers": 2, "num_heads": H, "hidden_dim": D, "intermediate_dim": 11}
    return Transformer(LETTERS, DIGITS, **{**sizes, "max_source_length": 9, "max_target_length": 7, **options})


@pytest.fixture(scope="module", params=[True, pytest.param(False, marks=pytest.mark.slow)], ids=["pre", "post"])
def model(request):
    return randomised(build(norm_first=request.param), 10 if request.param else 24, 0.9)


def whole(model, text, rows):
    """The source and rows of the decoder in one size, so that one shape is compiled: [K, 10], [K, 8]."""
    source_ids = padded(model.arrays([text], [""])[0][0], model.max_source_length - len(text))
    fed = np.array([[*row, *[PAD] * (8 - len(row))] for row in rows], "int32")
    return np.repeat(source_ids, len(fed), axis=0), fed


def test_step_by_step_is_teacher_forcing(model):
    (source_ids, decoder_ids), _ = model.arrays(TEXTS[:3], ["12345", "1", "5432"])

    def steps(source_ids, decoder_ids):
        (memory, states), found = model.encode(source_ids), []
        for at in range(decoder_ids.shape[1]):
            logits, states = model.step(decoder_ids[:, at], states, memory, model.padding_mask(source_ids))
            found.append(logits)
        return ops.stack(found, axis=1)

    found = numbers(compiled(steps, model)(*map(ops.convert_to_tensor, (source_ids, decoder_ids))))
    np.testing.assert_allclose(log_softmax(found, -1), forward(model, source_ids, decoder_ids), atol=2e-5)


def test_padding_changes_nothing(model):
    (source_ids, decoder_ids), _ = model.arrays(TEXTS[:3], ["123", "1", "54321"])
    found = forward(model, source_ids, decoder_ids)
    more = forward(model, padded(source_ids, 2), padded(decoder_ids, 2))
    np.testing.assert_allclose(more[:, :6], found, atol=1e-5)


def test_later_target_tokens_change_no_earlier_logit(model):
    demand_causality(model)


def test_greedy_is_the_slow_loop(model):
    expected = []
    for text in TEXTS:
        written = [START]
        while len(written) <= model.max_target_length + 1 and written[-1] != END:
            written.append(int(forward(model, *whole(model, text, [written]))[0, len(written) - 1].argmax()))
        expected.append(DIGITS.decode([written])[0][:7])
    assert model.translate(TEXTS) == expected
    assert len(set(expected)) > 1


@pytest.mark.slow
def test_beam_of_one_is_greedy(model):
    batch = model._fixed_size(model._source_ids(TEXTS))
    greedy = numbers(model._functions.greedy(batch))
    np.testing.assert_array_equal(numbers(model._functions.beam(batch, 1, 0.6)), greedy)
    assert model.translate(TEXTS, beam_width=1) == model.translate(TEXTS)


@pytest.mark.slow
def test_beam_is_the_slow_search(model):
    width, penalty = 3, 0.6
    for text in TEXTS[:3]:
        beams = [(0.0, [START])]
        for _ in range(model.max_target_length + 1):
            found = [beam for beam in beams if beam[1][-1] == END]
            for score, ids in [beam for beam in beams if beam[1][-1] != END]:
                row = forward(model, *whole(model, text, [ids]))[0, len(ids) - 1]
                found += [(score + chance, [*ids, token]) for token, chance in enumerate(row)]
            beams = sorted(found, key=lambda beam: -beam[0])[:width]
        best = max(beams, key=lambda beam: beam[0] / ((5 + len(beam[1]) - 1) / 6) ** penalty)
        found = model.translate([text], beam_width=width, length_penalty=penalty)
        assert found == [DIGITS.decode([best[1]])[0][:7]]


@pytest.mark.slow
def test_neighbours_in_a_batch_change_nothing(model):
    targets = ["123", "1", "54321", "", "5"]
    together = model.log_likelihood(TEXTS, targets)
    alone = [model.log_likelihood([text], [target])[0] for text, target in zip(TEXTS, targets, strict=True)]
    np.testing.assert_allclose(together, alone, atol=2e-5)
    assert model.translate(TEXTS) == [model.translate([text])[0] for text in TEXTS]


def test_log_likelihood_and_detail_agree_with_the_forward_pass(model):
    (source_ids, decoder_ids), target_ids = model.arrays(["abc", "g"], ["123", "54321"])
    scores = forward(model, source_ids, decoder_ids)
    expected = [sum(row[t, i] for t, i in enumerate(ids) if i) for row, ids in zip(scores, target_ids, strict=True)]
    np.testing.assert_allclose(model.log_likelihood(["abc", "g"], ["123", "54321"]), expected, atol=1e-4)
    for found, text in zip(model.translate_in_detail(TEXTS), model.translate(TEXTS), strict=True):
        assert found.text == text
        assert found.attention.shape == (len(found.tokens), len(found.source_tokens))
        np.testing.assert_allclose(found.attention.sum(-1), 1, atol=1e-5)


@pytest.mark.slow
def test_attention_maps_are_shares(model):
    maps = model.attention_maps(["abc", "g"], ["12", "54321"])
    assert {name: values.shape for name, values in maps.items()} == {
        "encoder": (2, 2, H, 4, 4),
        "decoder": (2, 2, H, 6, 6),
        "cross": (2, 2, H, 6, 4),
    }
    for values in maps.values():
        np.testing.assert_allclose(values.sum(-1), 1, atol=1e-5)
    assert (np.triu(maps["decoder"], 1) == 0).all()
    assert (maps["encoder"][1, ..., 2:] == 0).all() and (maps["cross"][1, ..., 2:] == 0).all()


def test_without_positions_a_source_is_a_bag():
    bag, ordered = (randomised(build(positions=positions, num_layers=1), 2) for positions in (False, True))
    order = np.array([2, 0, 3, 1])
    ids = ordered.arrays(["gab"], [""])[0][0]
    for model, differs in ((bag, False), (ordered, True)):
        read = compiled(lambda ids, model=model: model.read(ids)[0], model)
        gap = np.abs(numbers(read(ids))[:, order] - numbers(read(ids[:, order]))).max()
        assert (gap > 1e-2) == differs and (differs or gap < 1e-5)


@pytest.mark.slow
def test_learns_ten_examples_by_heart():
    model = build(hidden_dim=24, intermediate_dim=48, num_layers=1)
    draw = np.random.default_rng(0)
    sources = ["".join(draw.choice(list("abcdefg"), draw.integers(1, 9))) for _ in range(10)]
    targets = ["".join(draw.choice(list("12345"), draw.integers(0, 7))) for _ in range(10)]
    before = model.translate(sources)
    model.compile(keras.optimizers.Adam(0.01))
    model.fit(*model.arrays(sources, targets), batch_size=10, epochs=200, verbose=0)
    assert model.exact_match(sources, targets) == 1.0
    assert model.translate(sources) != before


def test_saved_with_its_vocabulary(model, tmp_path):
    model.save(tmp_path / "model.keras")
    restored = keras.models.load_model(tmp_path / "model.keras")
    assert restored.source_vocabulary == model.source_vocabulary
    assert restored.get_config() == model.get_config()
    assert len(restored.weights) == len(model.weights)
    for mine, theirs in zip(model.weights, restored.weights, strict=True):
        np.testing.assert_array_equal(numbers(mine), numbers(theirs))
    assert restored.translate(TEXTS) == model.translate(TEXTS)


@pytest.mark.parametrize("options, words", [
    ({"num_layers": 0}, "num_layers"), ({"hidden_dim": 9}, "even"), ({"dropout": 1.0}, "dropout"),
    ({"word_dropout": -0.1}, "dropout"), ({"num_heads": 4}, "cannot share"), ({"num_layers": 1.5}, "num_layers"),
    ({"max_source_length": 0}, "max_source_length"), ({"max_target_length": 2.5}, "max_target_length"),
    ({"intermediate_dim": 0}, "units"),
])  # fmt: skip
def test_impossible_models(options, words):
    with pytest.raises(ValueError, match=words):
        build(**options)


def test_wrong_inputs_speak(model):
    with pytest.raises(TypeError, match="list of texts"):
        model.translate("abc")
    with pytest.raises(CourseError, match="at most 9"):
        model.translate(["a" * 10])
    with pytest.raises(TypeError, match="Vocabulary"):
        Transformer("abc", DIGITS)
    with pytest.raises(ValueError, match="not both"):
        model.translate(["a"], beam_width=2, temperature=1.0)


def test_positions_end_with_their_table():
    positions = SinusoidalPositions(4)
    assert positions(np.zeros((1, 4, 6), "float32")).shape == (1, 4, 6)
    with pytest.raises(ValueError, match="5 steps are more than the 4 positions"):
        positions(np.zeros((1, 5, 6), "float32"))
    with pytest.raises(ValueError, match="6 steps are more than the 4 positions"):
        positions(np.zeros((1, 3, 6), "float32"), start=3)
    with pytest.raises(ValueError, match="0 or more, not -1"):
        positions(np.zeros((1, 3, 6), "float32"), start=-1)


def test_half_precision_translates(half_precision):
    model = build()
    assert keras.backend.standardize_dtype(model.read(np.ones((1, 3), "int32"))[0].dtype) == half_precision
    assert len(model.translate(["ab", "c"])) == 2
