"""Seq2Seq: attention against Keras, padding without effect, decoding against a plain loop, saving with vocabularies."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops
from translators import demand_causality, forward, numbers, padded

from aigc_course import seq2seq
from aigc_course.attention import AdditiveAttention, DotProductAttention, dot_product_attention
from aigc_course.runtime import CourseError
from aigc_course.seq2seq import Seq2Seq
from aigc_course.vocabulary import END, PAD, START, UNKNOWN, Vocabulary

LETTERS, DIGITS = Vocabulary("abcdefg"), Vocabulary("12345")
KINDS = [
    {},
    {"attention": False},
    {"score": "additive", "cell": "gru", "bidirectional": False},
    {"score": "dot", "cell": "gru"},
]
BEAMS = [(3, 0.0), (3, 1.0), (4, 0.6)]
DRAWS = [1, 2, 0, 0]  # seeds of weights with which each kind writes different texts for different sources


def build(**options):
    keras.utils.set_random_seed(3)
    sizes = {"hidden_dim": 10, "embedding_dim": 6, "max_source_length": 9, "max_target_length": 7}
    return Seq2Seq(LETTERS, DIGITS, **{**sizes, **options})


def sharpened(seed=1, **options):
    """A model with large random weights: its logits are far apart, and what it writes depends on what it read."""
    model = build(**options)
    draw = np.random.default_rng(seed)
    for weight in model.trainable_variables:
        weight.assign(draw.normal(size=weight.shape, scale=1.0).astype("float32"))
    return model


def kinds():
    """Numbers of KINDS; two of them, which differ in everything, run on every backend."""
    return [pytest.param(number, marks=[pytest.mark.slow] if number in (1, 3) else []) for number in range(len(KINDS))]


@pytest.fixture(scope="module", params=kinds(), ids=lambda number: "-".join(map(str, KINDS[number].values())))
def model(request):
    return sharpened(DRAWS[request.param], **KINDS[request.param])


# -------------------------------------------------------------------------------------------------- attention


@pytest.fixture
def vectors():
    draw = np.random.default_rng(5)
    queries = draw.normal(size=(2, 5, 6)).astype("float32")
    memory = draw.normal(size=(2, 7, 6)).astype("float32")
    return queries, memory, np.array([[1] * 7, [1] * 4 + [0] * 3], bool)


def test_dot_product_attention_by_hand():
    queries, memory = np.array([[[1.0, 0.0]]], "float32"), np.array([[[2.0, 0.0], [0.0, 4.0], [9.0, 9.0]]], "float32")
    context, weights = dot_product_attention(queries, memory, np.array([[True, True, False]]))
    first = np.exp(2) / (np.exp(2) + 1)
    np.testing.assert_allclose(numbers(weights)[0, 0], [first, 1 - first, 0], atol=1e-6)
    np.testing.assert_allclose(numbers(context)[0, 0], [2 * first, 4 * (1 - first)], atol=1e-6)


def test_dot_product_attention_is_keras_attention(vectors):
    queries, memory, mask = vectors
    theirs = keras.layers.Attention()([queries, memory], mask=[None, mask], return_attention_scores=True)
    for mine, reference in zip(dot_product_attention(*vectors), theirs, strict=True):
        np.testing.assert_allclose(numbers(mine), numbers(reference), atol=1e-5)


def test_additive_attention_is_keras_additive_attention(vectors):
    queries, memory, mask = vectors
    layer = AdditiveAttention(4)
    context, weights = layer(queries, memory, mask)
    theirs = keras.layers.AdditiveAttention()
    keys = layer.key(memory)
    theirs([layer.query(queries), memory[..., :4], keys])
    theirs.scale.assign(layer.score.kernel[:, 0])
    reference = theirs([layer.query(queries), memory, keys], mask=[None, mask], return_attention_scores=True)
    np.testing.assert_allclose(numbers(weights), numbers(reference[1]), atol=1e-5)
    np.testing.assert_allclose(numbers(context), numbers(reference[0]), atol=1e-5)


def test_projection_makes_the_score_general(vectors):
    queries, memory, mask = vectors
    layer = DotProductAttention(6, project=True)
    context, _ = layer(queries, memory, mask)
    expected, _ = dot_product_attention(queries @ numbers(layer.project.kernel), memory, mask)
    np.testing.assert_allclose(numbers(context), numbers(expected), atol=1e-5)


# -------------------------------------------------------------------------------------------------- loss and accuracy


def test_masked_cross_entropy_by_hand():
    logits = np.log(np.array([[[0.1, 0.2, 0.7], [0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]], "float32"))
    targets = np.array([[2, 1, PAD]], "int32")
    assert float(seq2seq.masked_cross_entropy(targets, logits)) == pytest.approx(-np.log(0.7 * 0.25) / 2, abs=1e-6)
    assert float(seq2seq.masked_accuracy(targets, logits)) == pytest.approx(1 / 2)
    assert float(seq2seq.padded_accuracy(targets, logits)) == pytest.approx(2 / 3)


def test_nothing_but_padding_gives_zero():
    logits, targets = np.zeros((2, 3, 4), "float32"), np.zeros((2, 3), "int32")
    assert float(seq2seq.masked_cross_entropy(targets, logits)) == 0.0
    assert float(seq2seq.masked_accuracy(targets, logits)) == 0.0


# -------------------------------------------------------------------------------------------------- padding, causality


def test_padding_changes_nothing(model):
    (source_ids, decoder_ids), target_ids = model.arrays(["abc", "gfedcba", "d"], ["123", "1", "54321"])
    logits, weights = model.logits_and_weights(source_ids, decoder_ids)
    more, more_weights = model.logits_and_weights(padded(source_ids, 2), padded(decoder_ids, 3))
    np.testing.assert_allclose(numbers(more)[:, :6], numbers(logits), atol=1e-5)
    for measure in (seq2seq.masked_cross_entropy, seq2seq.masked_accuracy):
        assert float(measure(padded(target_ids, 3), more)) == pytest.approx(
            float(measure(target_ids, logits)), abs=1e-5
        )
    assert float(seq2seq.padded_accuracy(padded(target_ids, 3), more)) > float(
        seq2seq.padded_accuracy(target_ids, logits)
    )
    if model.attention:
        np.testing.assert_allclose(numbers(more_weights)[:, :6, : weights.shape[-1]], numbers(weights), atol=1e-5)
        assert np.all(numbers(more_weights)[:, :, -2:] == 0)


def test_encoder_ignores_padding(model):
    source_ids = model.arrays(["abc"], ["1"])[0][0]
    states, more = (model.encode(ids)[1] for ids in (source_ids, padded(source_ids, 4)))
    for state, same in zip(states, more, strict=True):
        np.testing.assert_allclose(numbers(state), numbers(same), atol=1e-6)


@pytest.mark.slow
def test_neighbours_in_a_batch_change_nothing(model):
    texts, targets = ["abc", "gfedcba", "d"], ["123", "1", "54321"]
    together = model.log_likelihood(texts, targets)
    alone = [model.log_likelihood([text], [target])[0] for text, target in zip(texts, targets, strict=True)]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert model.translate(texts) == [model.translate([text])[0] for text in texts]


def test_later_target_tokens_change_no_earlier_logit(model):
    demand_causality(model)


@pytest.mark.slow
def test_probabilities_of_all_short_texts_sum_to_one():
    model = build(max_target_length=2)
    symbols = [token for token in DIGITS.tokens[4:]]
    texts = ["", *symbols, *map("".join, itertools.product(symbols, repeat=2))]
    chances = np.exp(model.log_likelihood(["ab"] * len(texts), texts))
    # What is missing: texts with an unknown token, and texts that go on after two tokens.
    ids, unknown = (np.array([[START, a, b] for a in range(3, 9) for b in range(3, 9)], "int32") for _ in range(2))
    sources = np.repeat(model.arrays(["ab"], [""])[0][0], len(ids), axis=0)
    steps = numbers(ops.softmax(model((sources, ids)), axis=-1))
    two = steps[:, 0][np.arange(len(ids)), ids[:, 1]] * steps[:, 1][np.arange(len(ids)), ids[:, 2]]
    going_on = (two * (1 - steps[:, 2, END])).sum()
    ended = (two * steps[:, 2, END])[(unknown[:, 1:] == UNKNOWN).any(1)].sum()
    one = steps[:1, 0, UNKNOWN][0] * numbers(ops.softmax(model((sources[:1], ids[:1])), axis=-1))[0, 1, END]
    assert chances.sum() + going_on + ended + one == pytest.approx(1, abs=1e-5)


# -------------------------------------------------------------------------------------------------- decoding


def next_scores(model, text, beginnings):  # [K, t] -> [K, V]
    """Log-probabilities of the token after each beginning, from one whole forward pass over padded rows."""
    source_ids = padded(model.arrays([text], [""])[0][0], model.max_source_length - len(text))
    fed = padded(np.array(beginnings, "int32"), model.max_target_length + 1 - len(beginnings[0]))
    return forward(model, np.repeat(source_ids, len(fed), axis=0), fed)[:, len(beginnings[0]) - 1]


def slow_greedy(model, text):
    """One whole forward pass for each token."""
    written = [START]
    for _ in range(model.max_target_length + 1):
        written.append(int(next_scores(model, text, [written])[0].argmax()))
        if written[-1] == END:
            break
    return written[1:]


def text_of(model, ids):
    """The text of ids, at most as long as the model may write."""
    return model.target_vocabulary.decode([ids])[0][: model.max_target_length]


def slow_beam(model, text, width, penalty):
    """Beam search with Python lists and whole forward passes."""
    beams = [(0.0, [START])]
    for _ in range(model.max_target_length + 1):
        ended, going = ([beam for beam in beams if (beam[1][-1] == END) == over] for over in (True, False))
        if not going:
            break
        scores = next_scores(model, text, [ids for _, ids in going])
        found = [
            (score + chance, [*ids, token])
            for (score, ids), row in zip(going, scores, strict=True)
            for token, chance in enumerate(row)
        ]
        beams = sorted(ended + found, key=lambda beam: -beam[0])[:width]
    best = max(beams, key=lambda beam: beam[0] / ((5 + len(beam[1]) - 1) / 6) ** penalty)
    return text_of(model, best[1])


TEXTS = ["abc", "g", "gfedcba", "aabb", "fad"]


def test_greedy_is_the_slow_loop(model):
    expected = [text_of(model, slow_greedy(model, text)) for text in TEXTS]
    assert model.translate(TEXTS) == expected
    assert len(set(expected)) > 1


def test_greedy_is_the_argmax_of_the_teacher_forced_model(model):
    (source_ids, decoder_ids), target_ids = model.arrays(TEXTS, model.translate(TEXTS))
    likely = forward(model, source_ids, decoder_ids).argmax(-1)
    written = np.logical_and(target_ids != PAD, target_ids != END)
    np.testing.assert_array_equal(likely[written], target_ids[written])
    ended = (target_ids == END) & (np.arange(target_ids.shape[1]) < model.max_target_length)
    np.testing.assert_array_equal(likely[ended], END)


@pytest.mark.parametrize("width, penalty", [(2, 0.6), *(pytest.param(*case, marks=pytest.mark.slow) for case in BEAMS)])
def test_beam_is_the_slow_search(width, penalty):
    model = sharpened(score="dot", cell="gru", seed=0) if width == 4 else sharpened()
    expected = [slow_beam(model, text, width, penalty) for text in TEXTS[:3]]
    assert model.translate(TEXTS[:3], beam_width=width, length_penalty=penalty) == expected


@pytest.mark.slow
def test_beam_of_one_is_greedy(model):
    assert [slow_beam(model, text, 1, 0.6) for text in TEXTS] == model.translate(TEXTS)


@pytest.mark.slow
def test_beam_as_wide_as_everything_finds_the_most_probable_text():
    model = sharpened(max_target_length=2)
    ended = [
        (*ids, END) for length in range(3) for ids in itertools.product(range(3, 9), repeat=length) if END not in ids
    ]
    cut = [ids for ids in itertools.product(range(3, 9), repeat=3)]
    rows = [np.array((*ids, PAD, PAD, PAD)[:3]) for ids in ended + cut]
    for text in TEXTS[:3]:
        sources = np.repeat(model.arrays([text], [""])[0][0], len(rows), axis=0)
        fed = np.array([[START, *row[:-1]] for row in rows], "int32")
        losses = numbers(seq2seq.token_cross_entropy(np.array(rows, "int32"), model((sources, fed))))
        totals = (losses * (np.array(rows) != PAD)).sum(-1)
        assert model.translate([text], beam_width=128, length_penalty=0) == [text_of(model, rows[totals.argmin()])]


@pytest.mark.slow
def test_draws_follow_the_probabilities():
    model = build(max_target_length=1)
    drawn = model.translate(["abc"] * 4000, temperature=1.0, seed=1)
    source_ids = model.arrays(["abc"], [""])[0][0]
    chances = numbers(ops.softmax(model((source_ids, np.array([[START]], "int32"))), axis=-1))[0, 0]
    for digit in "12345":
        expected = chances[DIGITS.encode([digit])[0, 0]]
        share = np.mean([text[:1] == digit for text in drawn])
        assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / 4000)


@pytest.mark.slow
def test_cold_draws_are_greedy_and_seeds_decide(model):
    assert model.translate(TEXTS, temperature=1e-4) == model.translate(TEXTS)
    hot = [model.translate(TEXTS, temperature=2.0, seed=seed) for seed in (0, 0, 1)]
    assert hot[0] == hot[1] != hot[2]


def test_detail_agrees_with_translation_and_likelihood(model):
    for found, text in zip(model.translate_in_detail(TEXTS), model.translate(TEXTS), strict=True):
        assert found.text == text
        assert found.source_tokens == [*found.source, "⊣"]
        assert len(found.tokens) == len(found.probabilities) == len(found.alternatives)
        if found.tokens[-1] == "⊣":
            assert found.log_probability == pytest.approx(model.log_likelihood([found.source], [text])[0], abs=1e-4)
        for token, chance, best in zip(found.tokens, found.probabilities, found.alternatives, strict=True):
            assert best[0] == (token, pytest.approx(chance, abs=1e-6))
        if model.attention:
            assert found.attention.shape == (len(found.tokens), len(found.source_tokens))
            np.testing.assert_allclose(found.attention.sum(-1), 1, atol=1e-5)
        else:
            assert found.attention is None


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"beam_width": 3}, {"temperature": 1.0}])
def test_edges_of_translate(options):
    model = sharpened()
    assert model.translate([], **options) == []
    empty, unknown, longest = model.translate(["", "xyz", "abcdefgab"], **options)
    assert empty == ""
    assert isinstance(unknown, str) and isinstance(longest, str)
    with pytest.raises(CourseError, match="at most 9"):
        model.translate(["a" * 10], **options)


@pytest.mark.slow
def test_empty_text_in_detail(model):
    assert model.translate_in_detail([]) == []
    assert model.translate_in_detail([""])[0].text == ""


def test_a_text_without_a_token_has_no_step(model):
    found = model.translate_in_detail([""])[0]
    assert (found.tokens, found.alternatives, found.log_probability) == ([], [], 0.0)
    assert found.attention is None or found.attention.shape == (0, 1)


def test_draws_at_any_temperature_write_what_may_be_written():
    model = sharpened()
    for coldest in (1e-30, 1e-39, 1e-300):
        assert model.translate(TEXTS, temperature=coldest) == model.translate(TEXTS)
    for hottest in (1e6, 1e12, 1e300):
        found = model.translate_in_detail(["abc"] * 60, temperature=hottest)
        written = {token for one in found for token in one.tokens}
        assert written == {*"12345", "�", "⊣"}  # neither padding nor the start
        assert all(np.isfinite(one.log_probability) for one in found)


def test_texts_may_come_one_by_one(model):
    texts = TEXTS[:2]
    assert model.translate(text for text in texts) == model.translate(texts)
    assert [one.text for one in model.translate_in_detail(iter(texts))] == model.translate(texts)
    np.testing.assert_array_equal(
        model.log_likelihood(iter(texts), iter("12")), model.log_likelihood(texts, ["1", "2"])
    )


@pytest.mark.parametrize("width", [2.0, np.int64(2)])
def test_a_beam_width_may_be_any_whole_number(width):
    model = sharpened()
    assert model.translate(TEXTS[:2], beam_width=width) == model.translate(TEXTS[:2], beam_width=2)


@pytest.mark.slow
def test_more_texts_than_a_batch(model):
    texts = ["abc", "fad"] * 70
    assert model.translate(texts) == model.translate(texts[:2]) * 70


@pytest.mark.parametrize("options, words", [
    ({"beam_width": 0}, "from 1 on"), ({"beam_width": 1.5}, "whole"), ({"temperature": -1}, "temperature"),
    ({"temperature": np.nan}, "temperature"), ({"temperature": 1, "beam_width": 2}, "not both"),
    ({"length_penalty": np.inf}, "finite"), ({"beam_width": np.nan}, "whole"), ({"beam_width": np.inf}, "whole"),
])  # fmt: skip
def test_impossible_decoding(options, words):
    with pytest.raises(ValueError, match=words):
        build().translate(["a"], **options)


@pytest.mark.parametrize("options, words", [
    ({"score": "cosine"}, "score"), ({"cell": "rnn"}, "cell"), ({"hidden_dim": 7}, "even"), ({"hidden_dim": 0}, "pos"),
    ({"dropout": 1.0}, "dropout"), ({"word_dropout": -0.1}, "dropout"),
])  # fmt: skip
def test_impossible_models(options, words):
    with pytest.raises(ValueError, match=words):
        build(**options)


def test_wrong_inputs_speak():
    model = build()
    with pytest.raises(TypeError, match="list of texts"):
        model.translate("abc")
    with pytest.raises(ValueError, match="2 sources and 1 targets"):
        model.arrays(["a", "b"], ["1"])
    with pytest.raises(CourseError, match="at most 7"):
        model.arrays(["a"], ["1" * 8])
    with pytest.raises(TypeError, match="Vocabulary"):
        Seq2Seq("abc", DIGITS)
    with pytest.raises(ValueError, match="nothing"):
        model.exact_match([], [])
    with pytest.raises(ValueError, match="no attention"):
        build(attention=False).attention_weights(np.zeros((1, 2), "int32"), np.zeros((1, 2), "int32"))


# -------------------------------------------------------------------------------------------------- training, saving


def test_arrays_are_shifted_by_one():
    (source_ids, decoder_ids), target_ids = build().arrays(["ab", "g"], ["12", "5"])
    np.testing.assert_array_equal(source_ids, [[4, 5, END], [10, END, PAD]])
    np.testing.assert_array_equal(decoder_ids, [[START, 4, 5], [START, 8, PAD]])
    np.testing.assert_array_equal(target_ids, [[4, 5, END], [8, END, PAD]])
    np.testing.assert_array_equal(decoder_ids[:, 1:], np.where(target_ids == END, PAD, target_ids)[:, :-1])


def test_reported_figures_are_masked_ones():
    model = sharpened()
    model.compile("sgd")
    data, targets = model.arrays(["abc", "g", "fad"], ["123", "54321", ""])
    found = model.evaluate(data, targets, batch_size=3, verbose=0, return_dict=True)
    logits = model((data[0], data[1]))
    assert found["loss"] == pytest.approx(float(seq2seq.masked_cross_entropy(targets, logits)), abs=1e-5)
    assert found["accuracy"] == pytest.approx(float(seq2seq.masked_accuracy(targets, logits)), abs=1e-6)
    assert found["padded_accuracy"] == pytest.approx(float(seq2seq.padded_accuracy(targets, logits)), abs=1e-6)
    assert found["loss"] == pytest.approx(
        -model.log_likelihood(["abc", "g", "fad"], ["123", "54321", ""]).sum() / 11, abs=1e-4
    )


def test_sample_weights_are_refused():
    model = build()
    model.compile("sgd")
    with pytest.raises(ValueError, match="sample weights"):
        model.fit(*model.arrays(["a", "b"], ["1", "2"]), sample_weight=np.ones(2), verbose=0)


@pytest.mark.slow
@pytest.mark.parametrize("options", KINDS, ids=str)
def test_learns_ten_examples_by_heart(options):
    model = build(hidden_dim=32, word_dropout=0.1, dropout=0.05, **options)
    draw = np.random.default_rng(0)
    sources = ["".join(draw.choice(list("abcdefg"), draw.integers(1, 9))) for _ in range(10)]
    targets = ["".join(draw.choice(list("12345"), draw.integers(0, 7))) for _ in range(10)]
    model.compile(keras.optimizers.Adam(0.02))
    model.fit(*model.arrays(sources, targets), batch_size=10, epochs=250, verbose=0)
    assert model.exact_match(sources, targets) == 1.0


def test_training_after_translating_changes_translations():
    model = build()
    before = model.translate(TEXTS)
    model.compile(keras.optimizers.Adam(0.05))
    model.fit(*model.arrays(["abc"] * 8, ["55"] * 8), epochs=30, verbose=0)
    assert model.translate(["abc"]) == ["55"]
    assert model.translate(TEXTS) != before


def test_word_dropout_spares_padding_and_end():
    model = build(word_dropout=0.5)
    source_ids = model.arrays(["abcdefg", "a"], ["1", "1"])[0][0]
    dropped = numbers(model._drop_words(ops.convert_to_tensor(np.repeat(source_ids, 200, axis=0)), training=True))
    kept = np.repeat(source_ids, 200, axis=0)
    np.testing.assert_array_equal(dropped[kept <= END], kept[kept <= END])
    assert 0.4 < np.mean(dropped[kept > END] == UNKNOWN) < 0.6


def test_saved_with_its_vocabulary(model, tmp_path):
    model.save(tmp_path / "model.keras")
    restored = keras.models.load_model(tmp_path / "model.keras")
    assert restored.source_vocabulary == model.source_vocabulary
    assert restored.translate(TEXTS) == model.translate(TEXTS)
    assert restored.get_config() == model.get_config()
