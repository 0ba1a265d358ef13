"""Corrections of GPT-2: chain rule, loss, shift, tied weights, writing, and what a text may claim.

See tests/ledger.py. B batch, T tokens, D width, V vocabulary, C context.
"""

import functools
import importlib.metadata
import itertools
import re
import tomllib

import keras
import numpy as np
import pytest
from keras import layers, ops
from ledger import Pair, array, correction, numbers, sharpened, verify

from aigc_course import corrections, gpt2, sampling, tour, transformer
from aigc_course.runtime import course_root
from aigc_course.sampling import Sampler
from aigc_course.token_losses import token_cross_entropy
from aigc_course.vocabulary import END, START, Vocabulary

V, C, D = 11, 9, 6


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def course_gpt2(seed=1, **options):
    sizes = {"vocabulary_size": V, "context_length": C, "num_layers": 2, "num_heads": 3, "hidden_dim": D, **options}
    return sharpened(gpt2.GPT2(gpt2.GPT2Config(**sizes)), seed)


@functools.cache
def model():
    return course_gpt2()


@functools.cache
def translator():
    sizes = {"num_layers": 1, "num_heads": 3, "hidden_dim": D, "max_source_length": 7, "max_target_length": 5}
    return sharpened(transformer.Transformer(Vocabulary("abc"), Vocabulary("xyz"), **sizes))


# --- the loss ---------------------------------------------------------------------------------------------------------


@correction("C1")
def test_c1_the_loss_does_not_depend_on_the_numbering():
    """The same tokens and the same probabilities, the vocabulary numbered otherwise."""
    order = np.random.default_rng(3).permutation(V)  # old number -> new number
    ids, logits = np.array([[3, 8, 10, 2, 7]], "int32"), numbers(1, 5, V)
    renumbered = logits[..., np.argsort(order)]
    gpt, other = model(), gpt2.GPT2(model().config)
    weights = dict(zip([weight.path for weight in gpt.weights], gpt.get_weights(), strict=True))
    name = next(path for path in weights if "token_embedding" in path)
    weights[name] = weights[name][np.argsort(order)]
    other.set_weights(list(weights.values()))

    def written(ids, logits):
        log_probabilities = array(ops.log_softmax(logits))
        return -np.mean(ids * np.take_along_axis(log_probabilities, ids[..., None], -1)[..., 0])

    def score(network, ids):
        return float(array(token_cross_entropy(np.roll(ids, -1, axis=1), network(ids))).mean())

    def change(loss):
        return abs(float(loss(ids, logits)) - float(loss(order[ids].astype("int32"), renumbered)))

    return Pair(
        faulty=[lambda: change(written)],
        right=[
            lambda: change(lambda ids, logits: array(ops.mean(token_cross_entropy(ids, logits)))),
            lambda: abs(score(gpt, ids) - score(other, order[ids].astype("int32"))),
        ],
        is_right=lambda change: change < 1e-4,
    )


@correction("C19")
def test_c19_the_loss_is_told_that_it_gets_logits():
    """The loss of (0.9, 0.1, 0.1), and of the same logits plus 7; target the first."""
    target = np.zeros(1, "int32")

    def told(from_logits):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
        return lambda logits: float(array(loss(target, np.array([logits], "float32"))))

    def course(logits):
        return float(array(token_cross_entropy(target, np.array([logits], "float32")))[0])

    def pair(loss):
        return loss([0.9, 0.1, 0.1]), loss([7.9, 7.1, 7.1])

    on_tensorflow = keras.backend.backend() == "tensorflow"
    assert pair(told(False)) == pytest.approx((0.2007, np.log(3) if on_tensorflow else 1.0287), abs=1e-3)
    # A wrong answer, the second token far ahead: probabilities are cut off at 1, and what is cut off learns nothing.
    assert told(True)([-5, 9, 3]) > 14 and not gradient_of_wrong_answer(False).any()
    assert gradient_of_wrong_answer(True)[0] < -0.99
    if on_tensorflow:  # the other backends divide by the sum first
        assert told(False)([20, -20, -20]) < 1e-5, "trap: one perfect model shows nothing"
        assert told(False)([20, 5, 5]) == pytest.approx(np.log(3), abs=1e-4)
    assert max(loss(logits) for loss in (told(True), course) for logits in ([20, -20, -20], [20, 5, 5])) < 1e-5
    return Pair(
        faulty=[lambda: pair(told(False))],
        right=[lambda: pair(told(True)), lambda: pair(course)],
        is_right=lambda values: abs(values[0] - values[1]) < 1e-5,
    )


def gradient_of_wrong_answer(from_logits):
    from aigc_course.compiled import input_gradient

    def loss(logits):
        return ops.sparse_categorical_crossentropy(np.zeros(1, "int32"), logits, from_logits=from_logits)

    return array(input_gradient(loss, ops.convert_to_tensor(np.array([[-5, 9, 3]], "float32"))))[0]


@correction("C20")
def test_c20_targets_are_the_inputs_one_step_later():
    ids = np.array([[3, 8, 10, 2, 7], [1, 1, 9, 2, 5]], "int32")
    assert keras.Input((None,)).dtype == "float32", "an input without a type takes floats"
    with pytest.raises(ValueError, match="whole numbers"):
        gpt2.shifted(ids.astype("float32"))

    def copied(inputs, targets):
        """Accuracy of a model that says what it has just read."""
        return (inputs[:, : targets.shape[1]] == targets).mean()

    def is_right(case):
        inputs, targets = case
        one_later = np.array_equal(inputs[:, 1:], targets[:, :-1]) and np.array_equal(targets[:, -1], ids[:, -1])
        return inputs.dtype.kind == targets.dtype.kind == "i" and one_later and copied(inputs, targets) < 0.5

    assert copied(ids, ids) == 1
    return Pair(
        faulty=[lambda: (ids, ids), lambda: (ids[:, :-1].astype("float32"), ids[:, 1:])],
        right=[lambda: gpt2.shifted(ids)],
        is_right=is_right,
    )


# --- the chain rule ---------------------------------------------------------------------------------------------------

LANGUAGE = {"aca": 0.3, "bcb": 0.3, "abc": 0.1, "cab": 0.1, "cac": 0.2}  # texts of three words and their probabilities


def conditional(prefix, word, seen):
    """p(word | what ``seen`` keeps of the prefix), exactly, from the table."""
    at = len(prefix)
    same = {text: p for text, p in LANGUAGE.items() if seen(text[:at]) == seen(prefix)}
    return sum(p for text, p in same.items() if text[at] == word) / sum(same.values()) if same else 0


def product(text, seen):
    return np.prod([conditional(text[:at], word, seen) for at, word in enumerate(text)])


@correction("C2")
def test_c2_each_token_depends_on_all_before_it():
    """Largest error of the product of conditionals over all 27 texts."""
    texts = ["".join(words) for words in itertools.product("abc", repeat=3)]

    def error(seen):
        return max(abs(product(text, seen) - LANGUAGE.get(text, 0)) for text in texts)

    assert conditional("ac", "a", str) == 1 and conditional("bc", "a", str) == 0, "the same last word"
    return Pair(
        faulty=[lambda: error(lambda prefix: prefix[-1:]), lambda: error(len)],
        right=[lambda: error(lambda prefix: prefix)],
        is_right=lambda error: error < 1e-12,
    )


def change(read, pair):
    """Largest change of the last step's logits between two inputs."""
    one, other = (array(read(ids))[:, -1] for ids in pair)
    return np.abs(one - other).max()


def test_c2_a_language_model_reads_the_whole_past():
    past = [np.array([[first, 5, 9, 3, 3]], "int32") for first in (1, 7)]
    verify(
        Pair(
            faulty=[lambda: change(lambda ids: model()(np.repeat(ids[:, -1:], 5, axis=1)), past)],
            right=[lambda: change(model(), past)],
            is_right=lambda change: change > 1e-3,
        )
    )


@pytest.mark.slow
def test_c2_a_translator_reads_the_whole_source():
    """The faulty one sees the source up to the step that it writes, the token that changes lies behind."""
    given = np.array([[START, 4]], "int32")
    sources = [np.array([[4, 5, last, END]], "int32") for last in (4, 6)]
    verify(
        Pair(
            faulty=[lambda: change(lambda ids: translator()((ids[:, : given.shape[1]], given)), sources)],
            right=[lambda: change(lambda ids: translator()((ids, given)), sources)],
            is_right=lambda change: change > 1e-3,
        )
    )


# --- architecture -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@correction("C3")
def test_c3_gpt2_is_a_decoder_alone():
    def parts(network):
        return {re.sub(r"_\d+$", "", part) for weight in network.weights for part in weight.path.split("/")}

    assert "attention" in parts(model())
    return Pair(
        faulty=[lambda: parts(translator())],
        right=[lambda: parts(model())],
        is_right=lambda names: not names & {"encoder", "cross_attention"},
    )


@pytest.mark.slow
@correction("C29")
def test_c29_the_head_is_the_embedding():
    """Number of weights, and deviation of the table at the start, with the document's vocabulary and width."""
    vocabulary_size, width, context = 10_000, 512, 7
    config = gpt2.GPT2Config(vocabulary_size, context, num_layers=1, num_heads=8, hidden_dim=width, intermediate_dim=9)
    ours = gpt2.GPT2(config)
    table = ours.token_embedding.get_weights()[0]
    block = 4 * (width**2 + width) + 2 * 9 * width + 9 + width + 4 * width
    wanted = (vocabulary_size + context) * width + block + 2 * width

    def written():
        head = layers.Dense(vocabulary_size)
        head.build((None, width))
        uniform = np.random.default_rng(0).uniform(-1, 1, table.shape)
        assert head.kernel.shape == (width, vocabulary_size) and np.prod(head.kernel.shape) == 5_120_000
        return ours.count_params() + head.count_params(), uniform.std()

    assert written()[0] - ours.count_params() == 5_120_000 + vocabulary_size, "the second table, and its biases"
    assert written()[1] == pytest.approx(0.577, abs=1e-3)
    hidden, ids = numbers(1, D), np.arange(V)
    assert np.allclose(
        array(model().to_logits(hidden))[0],
        array(model().norm(hidden))[0] @ array(model().token_embedding(ids)).T,
        atol=1e-5,
    )
    return Pair(
        faulty=[written],
        right=[lambda: (ours.count_params(), table.std())],
        is_right=lambda case: case[0] == wanted and abs(case[1] - 0.02) < 1e-3,
    )


@correction("C26")
def test_c26_the_number_of_dropout_is_what_is_left_out():
    """Share that the course's layer keeps at rate 0.1, against what a reader of the text expects."""
    layer = transformer.TransformerBlock(3, D, dropout=0.1).feed_forward.dropout
    kept = (array(layer(np.ones((200, 101), "float32"), training=True)) > 0).mean()
    return Pair(
        faulty=[lambda: 0.1],  # read as the share that is kept
        right=[lambda: 1 - 0.1],
        is_right=lambda expected: abs(kept - expected) < 0.02,
    )


# --- writing ----------------------------------------------------------------------------------------------------------

PROMPTS = [[3, 8], [10, 2, 7, 1]]


def follows_itself(network, rows):
    """Whether every written token is the most probable one after those before it."""
    pairs = [
        (row[:at], row[at]) for row, start in zip(rows, PROMPTS, strict=True) for at in range(len(start), len(row))
    ]
    best = [array(network(np.asarray(text)[None]))[0, -1].argmax() for text, _ in pairs]
    return bool(pairs) and best == [token for _, token in pairs]


@pytest.mark.slow
@correction("C30")
def test_c30_a_language_model_writes():
    """Greedy writing: twice the same, with the cache and without, and the argmax of what was written before."""
    ids = keras.Input((None,), dtype="int32")
    listing = keras.Model(ids, layers.Dense(V)(layers.Embedding(V, D)(ids)))

    def written(network, **options):
        runs = [network.generate(PROMPTS, 4, **options) for _ in range(2)]
        return network, [row.tolist() for row in runs[0]], [row.tolist() for row in runs[1]]

    def all_at_once():  # four tokens from one look, none of them read again
        rows = [[*row, *([int(array(model()(np.array([row])))[0, -1].argmax())] * 4)] for row in PROMPTS]
        return model(), rows, rows

    def is_right(case):
        network, rows, again = case
        assert len({token for row in rows for token in row[2:]}) > 2, "the model writes nothing of interest"
        return rows == again and follows_itself(network, rows)

    return Pair(
        faulty=[lambda: written(listing), all_at_once],
        right=[lambda: written(model()), lambda: written(model(), cached=False)],
        is_right=is_right,
        raises=AttributeError,
        message="generate",
    )


def test_c30_strategies_are_functions_of_logits():
    """By hand, on probabilities 0.5, 0.3, 0.15, 0.05."""
    chances = np.array([[0.3, 0.05, 0.5, 0.15]], "float32")
    logits = np.log(chances)

    def after(**options):
        return Sampler(**options).probabilities(logits)[0]

    squares = chances[0] ** 2
    assert int(array(sampling.greedy(logits))[0]) == 2
    assert after() == pytest.approx(chances[0], abs=1e-6)
    assert after(temperature=0.5) == pytest.approx(squares / squares.sum(), abs=1e-6)
    assert after(top_k=2) == pytest.approx([0.375, 0, 0.625, 0], abs=1e-6)
    assert after(top_p=0.7) == pytest.approx([0.375, 0, 0.625, 0], abs=1e-6)
    assert after(top_p=0.85) == pytest.approx(np.array([0.3, 0, 0.5, 0.15]) / 0.95, abs=1e-6)
    assert after(temperature=0) == pytest.approx([0, 0, 1, 0])


@correction("C36")
def test_c36_seed_and_temperature_set_the_randomness():
    """Draws from 300 equal rows: one seed twice, two seeds, and a temperature near 0 beside greedy."""
    logits = np.repeat(numbers(1, V), 300, axis=0)
    unseeded = np.random.default_rng()

    def trained_again(logits, temperature, seed):  # "train several times": another model each time, no control
        other = logits + unseeded.normal(size=V)
        return np.asarray(sampling.sample(other, temperature, seed=seed))

    def without_seed(logits, temperature, seed):
        return np.asarray(sampling.sample(logits, temperature, seed=int(unseeded.integers(2**31))))

    def always_hot(logits, temperature, seed):
        return np.asarray(sampling.sample(logits, 1.0, seed=seed))

    def is_right(draw):
        warm = [draw(logits, 1.0, seed) for seed in (4, 4, 5)]
        cold = draw(logits, 1e-4, 4)
        best = array(sampling.greedy(logits))
        return (warm[0] == warm[1]).all() and (warm[0] != warm[2]).any() and (cold == best).all()

    return Pair(
        faulty=[lambda: trained_again, lambda: without_seed, lambda: always_hot],
        right=[lambda: sampling.sample],
        is_right=is_right,
    )


# --- what a text may claim --------------------------------------------------------------------------------------------


@pytest.mark.any_backend
@correction("C27")
def test_c27_every_number_says_who_measured_it():
    """A band may be provisional, and has to say so, only as long as its chapter is not built."""
    supposed = {f"seq2seq/bleu_{n + 1}": {"what": "BLEU"} for n in range(len(corrections.entry("C5").data["scores"]))}
    contract = tomllib.loads((course_root() / "chapters" / "expected.toml").read_text(encoding="utf-8"))
    built = {path.stem.split("_", 1)[1] for path in (course_root() / "chapters").glob("[0-9][0-9]_*.ipynb")}

    def is_measured(key, row):
        measured = row.get("measured", "")
        waiting = measured.startswith("provisional") and key.split("/")[0] not in built
        return waiting or bool(re.search(r"\d.*\b20\d\d-\d\d-\d\d", measured))

    assert not is_measured("seq2seq/any", {"measured": "provisional: to be done"}) or "seq2seq" not in built
    return Pair(
        faulty=[lambda: supposed],
        right=[lambda: contract],
        is_right=lambda rows: bool(rows) and all(is_measured(key, row) for key, row in rows.items()),
    )


@pytest.mark.any_backend
@correction("C25")
def test_c25_a_text_ends_where_its_last_sentence_ends():
    def last_words(source):
        """The last paragraph of prose in a chapter's source."""
        return re.findall(r"(?m)^# .*\S", source)[-1]

    sources = sorted((course_root() / "chapters" / "src").glob("[0-9][0-9]_*.py"))
    assert sources
    return Pair(
        faulty=[lambda: "# %% [markdown]\n# In the years that come, models of this kind\n"],
        right=[lambda path=path: path.read_text(encoding="utf-8") for path in sources],
        is_right=lambda source: bool(re.search(r"[.!?:。！？]['\")*_`»”）]*$", last_words(source))),
    )


@pytest.mark.any_backend
@correction("C33")
def test_c33_the_frameworks_admit_this_python():
    """What the installed packages ask for, against the version that the document's environment names."""
    from packaging.specifiers import SpecifierSet

    named = corrections.entry("C33").data["python"]
    project = tomllib.loads((course_root() / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    admitted = [f"3.{minor}" for minor in range(40) if f"3.{minor}" in SpecifierSet(project["requires-python"])]
    asked = [SpecifierSet(importlib.metadata.metadata(name)["Requires-Python"]) for name in ("tensorflow", "keras")]
    assert named == "3.8" and admitted
    return Pair(
        faulty=[lambda: [named]],
        right=[lambda: admitted],
        is_right=lambda pythons: all(python in range_ for python in pythons for range_ in asked),
    )


@pytest.mark.any_backend
@correction("C35")
def test_c35_families_and_uses_are_two_axes():
    """Uses that each family is given: the document's sentence, and the course's map."""
    written = {"adversarial": {"pictures"}, "diffusion": {"video"}}
    ours = {family.name: set(family.examples) for family in tour.FAMILIES}
    assert {"adversarial", "diffusion"} <= set(ours) and {"pictures", "sound", "video"} <= set(tour.USES)
    return Pair(
        faulty=[lambda: written],
        right=[lambda: ours],
        is_right=lambda uses: all({"pictures", "sound", "video"} <= uses[name] for name in written),
    )
