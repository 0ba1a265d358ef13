"""Corrections of sequence to sequence: inputs, targets, padding, the shift, decoding, the LSTM, BLEU.

See tests/ledger.py. B batch, S source steps, T target steps, D input width, H width of a layer, V vocabulary.
"""

import itertools
import random

import keras
import numpy as np
import pytest
from keras import layers, ops
from ledger import Pair, correction, verify
from sacrebleu.metrics import BLEU

from aigc_course import corrections, metrics, seq2seq
from aigc_course.vocabulary import END, PAD, START, Vocabulary

SOURCES, TARGETS = ["ab", "cabbac", "b", "acbb"], ["xy", "yxxz", "z", "zyx"]
LETTERS, SIGNS = Vocabulary("abc"), Vocabulary("xyz")


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def array(tensor):
    return ops.convert_to_numpy(tensor)


def course_model(**options):
    options = {"hidden_dim": 10, "embedding_dim": 5, "max_source_length": 9, "max_target_length": 6, **options}
    return seq2seq.Seq2Seq(LETTERS, SIGNS, **options)


def sharpened(model, factor=4, seed=20):
    """The model with larger random weights, so that what it writes depends on what it read."""
    rng = np.random.default_rng(seed)
    model.set_weights([factor * rng.normal(0, 0.3, weights.shape) for weights in model.get_weights()])
    return model


def plain_model(mask=False, width=6):
    """Encoder and decoder of two LSTM layers as the documents draw them; softmax probabilities [B, T, V]."""
    source, given = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    _, *states = layers.LSTM(width, return_state=True)(layers.Embedding(len(LETTERS), 5, mask_zero=mask)(source))
    embedded = layers.Embedding(len(SIGNS), 5, mask_zero=mask)(given)
    outputs = layers.LSTM(width, return_sequences=True)(embedded, initial_state=states)
    return keras.Model([source, given], layers.Dense(len(SIGNS), "softmax")(outputs))


# --- what goes in, what is compared -----------------------------------------------------------------------------------


@correction("A8")
def test_a8_a_model_of_two_inputs_is_given_two():
    (source_ids, decoder_ids), target_ids = course_model().arrays(SOURCES, TARGETS)

    def loss_after(model, inputs, **options):
        model.compile("sgd", **options)
        return model.fit(inputs, target_ids, verbose=0).history["loss"][-1]

    def written(inputs):
        return loss_after(plain_model(), inputs, loss="sparse_categorical_crossentropy")

    return Pair(
        faulty=[lambda: written([source_ids, decoder_ids, decoder_ids])],
        right=[
            lambda: written([source_ids, decoder_ids]),
            lambda: loss_after(course_model(), (source_ids, decoder_ids)),
        ],
        is_right=np.isfinite,
        raises=ValueError,
        message="expects 2 (named )?input",
    )


@correction("A9")
def test_a9_ids_need_the_sparse_cross_entropy():
    """Mean loss of every target token; all four targets are of one length, so that padding plays no part."""
    model = course_model()
    inputs, target_ids = model.arrays(SOURCES, ["xyz", "yyx", "zxy", "xxx"])
    logits = model(inputs)
    probabilities = array(ops.softmax(logits))
    wanted = -np.log(np.take_along_axis(probabilities, target_ids[..., None], -1)).mean()
    one_hot = np.eye(len(SIGNS), dtype="float32")[target_ids]
    categorical = keras.losses.CategoricalCrossentropy(from_logits=True)
    assert one_hot.nbytes == len(SIGNS) * target_ids.nbytes, "float32 one-hot rows against int32 ids"
    return Pair(
        faulty=[lambda: categorical(target_ids, logits)],
        right=[
            lambda: categorical(one_hot, logits),
            lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True)(target_ids, logits),
            lambda: seq2seq.masked_cross_entropy(target_ids, logits),
        ],
        is_right=lambda loss: abs(float(array(loss)) - wanted) < 1e-5,
        raises=ValueError,
        message="(?i)same (rank|shape)",
    )


# --- padding ----------------------------------------------------------------------------------------------------------


def padded(ids, columns):
    return np.pad(ids, ((0, 0), (0, columns)))


class WithoutMask(seq2seq.Seq2Seq):
    """The course's model that takes padding for text."""

    def padding_mask(self, ids):
        return ops.ones_like(ids, dtype="bool")


def moved_by_padding(states_of):
    """Largest change of an encoder's states when a text is padded with four columns."""
    ids = LETTERS.encode(["cab"], end=True)
    pairs = zip(states_of(ids), states_of(padded(ids, 4)), strict=True)
    return max(np.abs(array(after) - array(before)).max() for before, after in pairs)


def plain_states(mask):
    source = keras.Input((None,), dtype="int32")
    _, *states = layers.LSTM(6, return_state=True)(layers.Embedding(len(LETTERS), 5, mask_zero=mask)(source))
    return keras.Model(source, states)


@correction("A10")
def test_a10_padding_does_not_reach_the_state():
    def course_states(kind=seq2seq.Seq2Seq, **options):
        model = kind(LETTERS, SIGNS, hidden_dim=10, embedding_dim=5, **options)
        return lambda ids: model.encode(ids)[1]

    faulty = [plain_states(mask=False), course_states(WithoutMask)]
    ours = [course_states(cell=cell, bidirectional=both) for cell in ("lstm", "gru") for both in (True, False)]
    return Pair(
        faulty=[lambda states=states: moved_by_padding(states) for states in faulty],
        right=[lambda states=states: moved_by_padding(states) for states in (plain_states(mask=True), *ours)],
        is_right=lambda change: change < 1e-6,
    )


def test_a10_padding_does_not_reach_loss_and_accuracy():
    """A model that has learned padding and guesses the rest: one token in four, and padded to sixteen steps 81 %."""
    targets = np.array([[4, 5, 6, END], [5, 5, 4, END], [6, 4, 4, END]], "int32")
    guesses = np.full_like(targets, END)
    losses, logits_of = keras.losses, lambda columns: 9 * np.eye(len(SIGNS), dtype="float32")[padded(guesses, columns)]

    def change(score):
        values = [float(array(score(padded(targets, columns), logits_of(columns)))) for columns in (0, 12)]
        return values[1] - values[0]

    def unmasked_loss(ids, logits):
        return losses.SparseCategoricalCrossentropy(from_logits=True)(ids, logits)

    def unmasked_accuracy(ids, logits):
        return ops.mean(keras.metrics.sparse_categorical_accuracy(ids, logits))

    assert change(unmasked_accuracy) == pytest.approx(13 / 16 - 1 / 4)
    assert change(seq2seq.padded_accuracy) == pytest.approx(13 / 16 - 1 / 4)
    verify(
        Pair(
            faulty=[lambda: change(unmasked_loss), lambda: change(unmasked_accuracy)],
            right=[lambda: change(seq2seq.masked_cross_entropy), lambda: change(seq2seq.masked_accuracy)],
            is_right=lambda moved: abs(moved) < 1e-5,
        )
    )


# --- the shift --------------------------------------------------------------------------------------------------------


@correction("A11")
def test_a11_the_decoder_is_asked_for_the_next_token():
    """A decoder that copies what it reads; texts without doubled letters, so that copying is never right by chance."""
    rng = random.Random(0)
    texts = ["".join(rng.sample("xyz", rng.randint(1, 3))) for _ in range(50)]

    def copied(given, targets):
        given = ops.convert_to_tensor(given)
        return float(array(seq2seq.masked_accuracy(targets, ops.one_hot(given, len(SIGNS)))))

    def shifted():
        (_, given), targets = course_model().arrays(["a"] * len(texts), texts)
        assert (given[:, 0] == START).all() and (targets[:, :-1] * (given[:, 1:] != PAD) == given[:, 1:]).all()
        return copied(given, targets)

    whole = SIGNS.encode(texts, start=True, end=True)
    return Pair(
        faulty=[lambda: copied(whole, whole), lambda: copied(whole[:, 1:], whole[:, 1:])],
        right=[shifted, lambda: copied(whole[:, :-1], whole[:, 1:])],
        is_right=lambda accuracy: accuracy < 0.1,
    )


# --- decoding ---------------------------------------------------------------------------------------------------------

READ = ["a", "b", "cabbac", "acb", "ccc", "ba"]


def agrees_with_itself(model, ids):  # ids [N, T] of what was written
    """Share of written tokens that are the most probable ones when the decoder is fed with the text before them."""
    source_ids = LETTERS.encode(READ, end=True)
    given = np.concatenate([np.full((len(ids), 1), START), ids[:, :-1]], 1).astype("int32")
    best = array(model((source_ids, np.where(given == END, PAD, given)))).argmax(-1)
    return (best == ids)[ids != PAD].mean()


def ids_of(rows):  # [N, T]; what follows END becomes padding
    after = np.cumsum(rows == END, axis=1) - (rows == END) > 0
    return np.where(after, PAD, rows)


@pytest.mark.slow
@correction("A12")
def test_a12_what_is_written_is_read_again():
    """Share of tokens that the teacher-forced model would have written too, fed with the translation: 1, or fewer."""
    model = sharpened(course_model())
    source_ids = LETTERS.encode(READ, end=True)
    length = model.max_target_length + 1

    def all_at_once():  # nothing written is read again
        start = np.full((len(READ), length), START, "int32")
        return array(model((source_ids, start))).argmax(-1)

    def forgetful():  # each step begins with the encoder's state and knows the last token alone
        rows, last = [], np.full((len(READ), 1), START, "int32")
        for _ in range(length):
            last = array(model((source_ids, last))).argmax(-1).astype("int32")
            rows.append(last)
        return np.concatenate(rows, axis=1)

    def translated():
        pieces = model.translate_in_detail(READ)
        assert [piece.text for piece in pieces] == model.translate(READ)
        rows = np.full((len(READ), length), PAD, "int32")
        for row, piece in zip(rows, pieces, strict=True):
            row[: len(piece.tokens)] = [SIGNS.tokens.index(token) for token in piece.tokens]
        assert len({piece.text for piece in pieces}) > 3, "the model writes nothing of interest"
        return rows

    return Pair(
        faulty=[
            lambda: agrees_with_itself(model, ids_of(all_at_once())),
            lambda: agrees_with_itself(model, ids_of(forgetful())),
            lambda: agrees_with_itself(model, plain_model().translate(READ)),  # there is no such method
        ],
        right=[lambda: agrees_with_itself(model, translated())],
        is_right=lambda share: share == 1,
        raises=AttributeError,
        message="translate",
    )


# --- autoregressive ---------------------------------------------------------------------------------------------------


class Reading:
    """p(y | x) by a network [source, decoder ids] -> logits: its sum over texts, and what its steps depend on."""

    def __init__(self, logits, shift=True):
        self.logits, self.shift = logits, shift

    def steps(self, source, texts):  # -> [N, T] of log p(y_t | ...), 0 for padding
        targets = SIGNS.encode(texts, end=True)
        given = SIGNS.encode(texts, start=True) if self.shift else targets
        logits = self.logits(LETTERS.encode([source] * len(texts), end=True), given)
        chosen = np.take_along_axis(array(ops.log_softmax(logits)), targets[..., None], -1)[..., 0]
        return np.where(targets == PAD, 0, chosen.astype("float64"))

    def total(self, length=3):
        """p of every text of at most ``length`` signs, and of every longer beginning. The sign ? stands for unknown."""
        short = ["".join(signs) for size in range(length + 1) for signs in itertools.product("xyz?", repeat=size)]
        longer = ["".join(signs) for signs in itertools.product("xyz?", repeat=length + 1)]
        return np.exp(self.steps("ab", short).sum(1)).sum() + np.exp(self.steps("ab", longer)[:, :-1].sum(1)).sum()

    def is_autoregressive(self):
        last = self.steps("ab", ["xz", "yz"])[:, 1]  # the same sign after another beginning
        sources = [self.steps(source, ["xz"])[0, 1] for source in ("ab", "cc")]
        return abs(self.total() - 1) < 1e-4 and abs(np.diff(last)[0]) > 1e-3 and abs(np.diff(sources)[0]) > 1e-3


def reader(factor=2, **options):
    model = sharpened(course_model(**options), factor)
    return lambda source_ids, given: model((source_ids, given))


@pytest.mark.slow
@correction("A24")
def test_a24_a_seq2seq_decoder_is_autoregressive():
    """The probabilities of all short texts and longer beginnings sum to 1; each step depends on the past and on x."""
    read = reader()
    source_alone = Reading(lambda source_ids, given: read(source_ids, np.full_like(given, START)))
    past_alone = Reading(lambda source_ids, given: read(np.full_like(source_ids, END), given))  # a language model
    its_own_answer = Reading(read, shift=False)
    ours = [Reading(reader(**options)) for options in ({}, {"attention": False}, {"cell": "gru", "score": "additive"})]
    assert all(abs(reading.total() - 1) < 1e-4 for reading in (source_alone, past_alone)), "the sum alone is a trap"
    assert abs(its_own_answer.total() - 1) > 0.01
    return Pair(
        faulty=[reading.is_autoregressive for reading in (source_alone, past_alone, its_own_answer)],
        right=[reading.is_autoregressive for reading in ours],
        is_right=bool,
    )


@pytest.mark.slow
def test_a24_log_likelihood_is_the_sum_over_the_steps():
    model = sharpened(course_model(), factor=2)
    texts = ["", "x", "zyx", "yy"]
    steps = Reading(lambda *ids: model(ids)).steps("ab", texts)
    assert model.log_likelihood(["ab"] * 4, texts) == pytest.approx(steps.sum(1), abs=1e-4)


# --- the LSTM ---------------------------------------------------------------------------------------------------------

B, T, D, H = 2, 7, 5, 3


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def gates(inputs, h, weights):  # [B, D], [B, H] -> four times [B, H]: input, forget, candidate, output
    kernel, recurrent, bias = weights
    return np.split(inputs @ kernel + h @ recurrent + bias, 4, axis=-1)


def lstm_step(inputs, h, c, weights):
    """Gers et al., 2000: ``c = f c + i tanh(g)``, ``h = o tanh(c)``."""
    i, f, g, o = gates(inputs, h, weights)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def sigmoid_candidate_step(inputs, h, c, weights):
    i, f, g, o = gates(inputs, h, weights)
    c = sigmoid(f) * c + sigmoid(i) * sigmoid(g)
    return sigmoid(o) * np.tanh(c), c


def no_output_gate_step(inputs, h, c, weights):
    i, f, g, _ = gates(inputs, h, weights)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return np.tanh(c), c


def step_as_written(inputs, h, c, weights):
    """Sigmoid candidate, and the state a new sigmoid layer of the cell and the input (weights drawn at random)."""
    c = sigmoid_candidate_step(inputs, h, c, weights)[1]
    new = np.random.default_rng(5).normal(size=(H + D, H))
    return sigmoid(np.concatenate([c, inputs], -1) @ new), c


def run_steps(step, inputs, weights):  # [B, T, D] -> [B, T, H] of h, [B, T, H] of c
    h, c = np.zeros((len(inputs), H)), np.zeros((len(inputs), H))
    hidden, cells = [], []
    for t in range(inputs.shape[1]):
        h, c = step(inputs[:, t], h, c, weights)
        hidden.append(h)
        cells.append(c)
    return np.stack(hidden, axis=1), np.stack(cells, axis=1)


class KerasLSTM:
    """A Keras layer with random weights and what it makes of random inputs."""

    def __init__(self):
        rng = np.random.default_rng(2)
        self.inputs = rng.normal(size=(B, T, D))
        layer = layers.LSTM(H, return_sequences=True)
        layer.build((None, None, D))
        self.weights = [rng.normal(size=weights.shape) for weights in layer.get_weights()]
        layer.set_weights(self.weights)
        self.outputs = array(layer(self.inputs.astype("float32")))

    def error(self, step):
        return np.abs(run_steps(step, self.inputs, self.weights)[0] - self.outputs).max()


@correction("D4")
def test_d4_lstm_has_a_tanh_candidate_and_an_output_gate():
    lstm = KerasLSTM()
    written = (sigmoid_candidate_step, no_output_gate_step, step_as_written)
    return Pair(
        faulty=[lambda step=step: lstm.error(step) for step in written],
        right=[lambda: lstm.error(lstm_step)],
        is_right=lambda error: error < 1e-6,
    )


def test_d4_a_cell_with_sigmoid_candidates_never_becomes_negative():
    lstm = KerasLSTM()
    written = (sigmoid_candidate_step, step_as_written)
    verify(
        Pair(
            faulty=[lambda step=step: run_steps(step, lstm.inputs, lstm.weights)[1] for step in written],
            right=[lambda: run_steps(lstm_step, lstm.inputs, lstm.weights)[1]],
            is_right=lambda cells: (cells < 0).any() and (cells > 0).any(),
        )
    )


# --- BLEU -------------------------------------------------------------------------------------------------------------

REPEATED = (["a b c x y z w a b c"], ["x y z w a b c x y z w"])
UNEQUAL = (
    ["p q r s", " ".join(f"w{n}" for n in range(100))],
    ["e f g h", " ".join(f"w{n}" for n in range(100))],
)


def library_bleu(hypotheses, references, smoothing="none"):
    """Cumulative scores BLEU-1 .. BLEU-4 and precisions by sacrebleu; ``references`` one text each."""
    scores = [
        BLEU(tokenize="none", smooth_method=smoothing, max_ngram_order=n).corpus_score(hypotheses, [references])
        for n in (1, 2, 3, 4)
    ]
    return [score.score for score in scores], scores[-1].precisions


def random_corpora(count, seed=0):
    """Pairs of texts over a few words, so that runs of words match often."""
    rng = random.Random(seed)
    for _ in range(count):
        words = "abcdefgh"[: rng.randint(2, 8)]
        sizes = [(rng.randint(0, 12), rng.randint(1, 12)) for _ in range(rng.randint(1, 5))]
        yield tuple([" ".join(rng.choices(words, k=size[side])) for size in sizes] for side in (0, 1))


@pytest.mark.any_backend
@correction("C5")
def test_c5_quotients_of_cumulative_scores_are_at_most_one():
    written = corrections.entry("C5").data["scores"]
    assert metrics.quotient_test(written).values == pytest.approx([0.702, 0.831, 0.914, 1.089], abs=5e-4)
    most, least = written[2] + 0.05, written[3] - 0.05  # whatever was rounded off
    corpora = [*random_corpora(300), REPEATED, UNEQUAL]
    libraries = [library_bleu(*corpus, smoothing)[0] for corpus in corpora for smoothing in ("none", "exp")]
    ours = [metrics.corpus_bleu(texts, [[text] for text in others]).cumulative for texts, others in corpora]
    return Pair(
        faulty=[lambda: written, lambda: [*written[:2], most, least]],
        right=[lambda scores=scores: scores for scores in (*libraries, *ours)],
        is_right=lambda scores: metrics.quotient_test(scores).possible,
    )


@pytest.mark.any_backend
@pytest.mark.parametrize(("corpus", "precisions", "cumulative"), [
    (REPEATED, [70.0, 77.8, 87.5, 100.0], [63.3, 66.8, 70.7, 75.2]),
    (UNEQUAL, [96.2, 97.1, 98.0, 99.0], [96.2, 96.6, 97.1, 97.5]),
])  # fmt: skip
def test_c5_that_scores_never_rise_is_not_the_test(corpus, precisions, cumulative):
    """The trap: precisions and cumulative scores rise here, by clipping and by texts of unequal lengths."""
    scores, shares = library_bleu(*corpus)
    assert shares == pytest.approx(precisions, abs=0.05) and scores == pytest.approx(cumulative, abs=0.05)
    assert sorted(set(scores)) == scores, "they rise"


def without_repeats(rng, num_texts):
    """Texts of one length without a repeated word, and references cut together from them and from other words."""
    size = rng.randint(5, 14)
    texts, references = [], []
    for _ in range(num_texts):
        words = rng.sample(range(30), size)
        other = rng.choices(range(30), k=rng.randint(0, 5))
        reference = [*words[rng.randint(0, 6) :], *words[: rng.randint(0, 9)], *other]
        texts.append(" ".join(map(str, words)))
        references.append(" ".join(map(str, reference)))
    return texts, references


@pytest.mark.any_backend
def test_c5_precisions_fall_without_repeated_words_in_texts_of_one_length():
    """Point by point: p_(n+1) <= p_n. Both conditions are needed, as the corpora that rise show."""
    rng, fallen = random.Random(1), 0
    for number in range(1500):
        texts, references = without_repeats(rng, num_texts=1 + number % 3)
        shares = metrics.corpus_bleu(texts, [[text] for text in references], smoothing="none").precisions
        assert all(b <= a + 1e-9 for a, b in itertools.pairwise(shares)), (texts, references)
        fallen += 0 < shares[3] < shares[0]
    assert fallen > 500, "the corpora show nothing"
