# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 06 · Sequence to sequence with attention
#
# You build a translator: one network reads a text, a second writes another text, letter by letter, and looks back at
# what the first one noted. On dates, in English and in Chinese, you can train it in two minutes, test every part of it,
# and see where it looked while it wrote.
#
# LSTM step, attention, the decoding loop, beam search and BLEU stand here in a few lines each. Five exercises ask for
# lines of your own.
#
# *About 90 minutes, two to three of them training.*

# %%
from aigc_course import runtime

print(runtime.setup(seed=0))
sizes = runtime.sizes("06_seq2seq")

# %%
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import sacrebleu
from keras import ops

from aigc_course import (
    attention,
    check,
    checkpoints,
    corrections,
    metrics,
    plots,
    recipes,
    seq2seq,
    seq2seq_plots,
    training,
    widgets,
)
from aigc_course.datasets import dates, pairs
from aigc_course.vocabulary import END, PAD, START, Vocabulary

reader = checkpoints.load("dates-iso")
widgets.explore(
    seq2seq_plots.translation_panel(reader),
    alt="The date in ISO form, the confidence in each character, and where the model looked for it",
    text=widgets.text(
        "Thursday, 4 March 2021", "a date", examples=("二〇二一年三月四日星期四", "the 1st of May, 1999")
    ),
)

# %% [markdown]
# Type a date in any form, English or Chinese: `4 Mar '21`, `2021年3月4日`, `March fourth twenty twenty-one`. Above
# stands what the model writes, with its probability for each character; below, the *attention map*, one row for each
# written character. The darker a cell, the more the model looked at that place of your text. Nobody told it that the
# year stands at the end of an English date: it had only pairs of texts. **Question:** where does it look for the month?
#
# ## The data
#
# One date, about sixty ways to write it, and one right answer. The forms come from the locale data that operating
# systems use, with ordinals, words and Chinese numerals added.

# %%
data = dates.load_dates("iso", num_train=sizes.dates, num_test=sizes.num_test)
for source, target, pattern in list(zip(data.train.sources, data.train.targets, data.train.patterns, strict=True))[:8]:
    print(f"{target}  {pattern:30} {source}")
days = [set(part.dates) for part in (data.train, data.validation, data.test)]
assert not days[0] & days[1] and not days[0] & days[2], "a day was trained on"

# %% [markdown]
# The parts are split *by day*: no day of the test part was trained on in any form. A random split of the pairs would
# put `4 March 2021` into training and `2021年3月4日` into the test, and learning by heart would score.
#
# Left out is every form whose order the text does not tell. 03/04/05 is a day in March, April or May, according to who
# wrote it. No model can know, so such forms would only lower everybody's score.
#
# A network reads numbers. A `Vocabulary` gives every character an id; four ids are no character: 0 pads short rows
# (␀), 1 starts (⊢), 2 ends (⊣), and 3 stands for what the vocabulary does not know (�).

# %%
letters = Vocabulary(dates.SOURCE_CHARACTERS)
two = letters.encode(["4 Mar 2021", "2021年3月4日"], end=True)
print(two)
print(letters, letters.decode(two), letters.decode(letters.encode(["4 März"])))

# %% [markdown]
# Both rows have one length now, which a batch needs; the zero at the end of the second means nothing, and must have no
# effect on anything. `ä` and `z` are unknown.
#
# The decoder gets *two* rows: what it reads, and what it has to say.

# %%
(source_ids, decoder_ids), target_ids = reader.arrays(["4 Mar 2021"], ["2021-03-04"])
figures = reader.target_vocabulary
for name, row in {"it reads": decoder_ids[0], "it has to say": target_ids[0]}.items():
    print(f"{name:14}", " ".join(figures.tokens[number] for number in row))
check.close(decoder_ids[:, 1:], target_ids[:, :-1], name="shifted by one")

# %% [markdown]
# At every step it has read the target *so far* and has to say the next character. The two rows are the same text,
# shifted by one. (The documents' listing hands `fit` three arrays for a model of two inputs, which stops with an error,
# and is silent about the shift.) Forget the shift, and the task is to repeat what stands there already:

# %%
(all_sources, all_given), all_targets = reader.arrays(data.train.sources, data.train.targets)
real = all_targets != PAD
unshifted = np.roll(all_given, -1, axis=1)[:, :-1]
print(f"a copying machine scores {(all_given == all_targets)[real].mean():.1%} with the shift", end=", ")
print(f"{(unshifted == all_targets[:, :-1]).mean():.1%} without")

# %% [markdown]
# ## One character after the other
#
# A probability for a whole text $y$ given a source $x$ can always be written as a product, whatever the model:
#
# $$p(y \mid x) = \prod_{t=1}^{T} p(y_t \mid y_1, \dots, y_{t-1}, x).$$
#
# The *encoder* reads $x$. The *decoder* computes one factor a step, so it is autoregressive: a language model that is
# also given a source. (One of the documents calls sequence-to-sequence and autoregressive models two alternatives. What
# exists besides is an autoregressive model without a source.) In training all factors are computed at once, each with
# the *true* past: *teacher forcing* (Williams and Zipser, 1989).
#
# **Three numbers.** If the three characters of a text get the probabilities 0.9, 0.5 and 0.8, the text has 0.36. In
# nats they cost $0.105 + 0.693 + 0.223 = 1.022$, or 0.341 a character, and the *perplexity* is $e^{0.341} = 1.41$: as
# unsure as a fair choice among 1.41 characters. The loss is the mean cost of a character; padding is none.


# %%
def my_loss(target_ids, logits):  # [B, T], [B, T, V] -> nats a character
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    cost = -np.take_along_axis(log_p, target_ids[..., None], axis=-1)[..., 0]
    real = target_ids != PAD
    return (cost * real).sum() / real.sum()


(_, given), targets = reader.arrays(["4 Mar 2021", "5 Mar 2021"], ["2021-03-04", "2021"])
logits = np.random.default_rng(0).normal(size=(*targets.shape, len(figures))).astype("float32")
check.close(my_loss(targets, logits), seq2seq.masked_cross_entropy(targets, logits))
print(
    f"random logits: {my_loss(targets, logits):.2f} nats, perplexity {metrics.perplexity(my_loss(targets, logits)):.1f}"
)
print(f"ids {all_targets.nbytes / 1e6:.1f} MB, one-hot {all_targets.nbytes * len(figures) / 1e6:.1f} MB")

# %% [markdown]
# The last line is why the loss takes ids and not one-hot rows: those need as many times more memory as the vocabulary
# has entries, here 15. For 10,000 words it would be 10,000 times.
#
# ## What padding does to a score
#
# Take guesses that are right for 60 % of the characters, and pad the batch. A model that has learned one thing, "after
# the end comes padding", is right on every added step.

# %%
right = np.random.default_rng(0).random(all_targets.shape) < 0.6
print("steps   accuracy over characters   over everything")
for width in (11, 16, 24, 37):
    added = ((0, 0), (0, width - 11))
    padded = np.pad(all_targets, added)
    guesses = np.eye(len(figures))[np.pad(np.where(right, all_targets, START), added)]
    masked, everything = (f(padded, guesses) for f in (seq2seq.masked_accuracy, seq2seq.padded_accuracy))
    print(f"{width:5} {float(masked):16.1%} {float(everything):23.1%}")

# %% [markdown]
# The same guesses, once 60 % and once 88 %: only the left figure says something about the model. `fit` reports both
# here, as `accuracy` and `padded_accuracy`.
#
# Padding must stay out of the encoder too, of its state and of the attention. In `Seq2Seq` everything that masks asks
# `padding_mask`, so a model with the documents' fault takes three lines. Same weights, one text, eight zeros added:


# %%
class Unmasked(seq2seq.Seq2Seq):
    """The fault: padding is text like any other, to be read, looked at and predicted."""

    impossible = (START,)

    def padding_mask(self, ids):
        return ops.ones_like(ids, dtype="bool")


deaf = Unmasked.from_config(reader.get_config())
deaf.set_weights(reader.get_weights())
ids = letters.encode(["4 Mar 2021"], end=True)
for name, model in {"masked": reader, "not masked": deaf}.items():
    state, padded_state = (model.encode(np.pad(ids, ((0, 0), (0, zeros))))[1][0] for zeros in (0, 8))
    print(f"{name:11} largest change of the encoder's state: {float(ops.max(ops.abs(state - padded_state))):.6f}")

# %% [markdown]
# ## A memory that can last
#
# Encoder and decoder are *recurrent*: at every step the same small network reads one character and updates a state. The
# LSTM (Hochreiter and Schmidhuber, 1997; with a forget gate since Gers et al., 2000) has two states. The cell $c$ is
# the memory: it is only scaled and added to, so that a note can last many steps. Its visible part $h$ is the output.
# Three gates between 0 and 1 say what is kept ($f$), written ($i$) and shown ($o$):
#
# $$i, f, o = \sigma(W x + U h + b), \qquad \tilde c = \tanh(W_c x + U_c h + b_c),$$
#
# $$c \leftarrow f \odot c + i \odot \tilde c, \qquad h \leftarrow o \odot \tanh(c),$$
#
# where each gate has its own $W$, $U$ and $b$.


# %%
def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def my_lstm_step(x, h, c, kernel, recurrent, bias, candidate=np.tanh):  # [B, D], [B, H] x 2 -> [B, H] x 2
    i, f, new, o = np.split(x @ kernel + h @ recurrent + bias, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * candidate(new)
    return sigmoid(o) * np.tanh(c), c


cell, rng = keras.layers.LSTMCell(3, bias_initializer="normal", seed=0), np.random.default_rng(0)
x, h, c = (rng.normal(size=(2, width)).astype("float32") for width in (5, 3, 3))
expected = cell(x, [h, c])[1]
weights = [ops.convert_to_numpy(weight) for weight in cell.get_weights()]
check.close(np.stack(my_lstm_step(x, h, c, *weights)), np.stack([ops.convert_to_numpy(state) for state in expected]))

# %% [markdown]
# One of the documents passes the candidate $\tilde c$ through a sigmoid and leaves out the output gate. Then nothing
# negative is ever written: a cell that starts at 0 never falls below it.

# %%
for name, candidate in {"tanh": np.tanh, "sigmoid": sigmoid}.items():
    h, c = np.zeros((2, 3)), np.zeros((2, 3))
    lowest = 0
    for _ in range(20):
        h, c = my_lstm_step(rng.normal(size=(2, 5)), h, c, *weights, candidate)
        lowest = min(lowest, c.min())
    print(f"candidate {name:8} lowest cell over 20 steps {lowest:.2f}")

# %% [markdown]
# The *GRU* (Cho et al., 2014) has one state and two gates, one of which both forgets and writes: about a quarter fewer
# weights. `Seq2Seq(cell="gru")` uses it. The encoder is *bidirectional* (Schuster and Paliwal, 1997): half of its width
# reads from the left, half from the right, so that its note on a character knows both sides.
#
# ## Attention, on three numbers
#
# The encoder leaves a vector $m_s$ for each of the $S$ places of the source: the *memory*. At each step the decoder
# makes a *query* $q$ and asks which places fit. The score of a place is the dot product; softmax turns scores into
# weights that sum to 1; the *context* is the weighted mean:
#
# $$e_s = q \cdot m_s, \qquad a_s = \frac{e^{e_s}}{\sum_{r} e^{e_r}}, \qquad \text{context} = \sum_s a_s m_s.$$
#
# Memory $(1, 0)$, $(0, 1)$, $(-1, \tfrac12)$, query $(2, 1)$: scores 2, 1, −1.5; their exponentials 7.39, 2.72, 0.22,
# together 10.33; weights 0.715, 0.263, 0.022; context $(0.694, 0.274)$.


# %%
def turned(angle, length):
    """Weights of three places for a query of this direction (degrees) and length."""
    memory = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.5]])
    query = length * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    weights = np.exp(memory @ query) / np.exp(memory @ query).sum()
    x, y = weights @ memory
    return seq2seq_plots.weights_bars(["(1, 0)", "(0, 1)", "(−1, ½)"], weights, f"context ({x:.2f}, {y:.2f})")


widgets.explore(
    turned,
    alt="Three bars, the attention weights of three places",
    angle=widgets.slider(0, 180, 5, 25, "direction of the query"),
    length=widgets.slider(0.0, 10.0, 0.25, 2.25, "length of the query"),
)

# %% [markdown]
# Turn the query: the weight passes from place to place. Its length works like an inverse temperature: at 0 every place
# gets a third, and the longer it is, the more the best place gets. Nothing here is a jump, so a gradient can teach the
# decoder where to look. **Question:** at about which direction do the second and third place get the same weight?
#
# The same for a batch, all steps at once, with the mask: what is padding gets a score of minus a billion, and a weight
# of 0.


# %%
def my_attention(queries, memory, mask):  # [B, T, D], [B, S, D], [B, S] -> [B, T, D], [B, T, S]
    scores = queries @ memory.transpose(0, 2, 1)  # [B, T, S]
    scores = np.where(mask[:, None, :], scores, -1e9)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights = weights / weights.sum(-1, keepdims=True)
    return weights @ memory, weights


rng = np.random.default_rng(0)
queries, memory = rng.normal(size=(2, 5, 6)).astype("float32"), rng.normal(size=(2, 7, 6)).astype("float32")
mask = np.arange(7) < np.array([[7], [4]])  # the second text has four characters
context, weights = my_attention(queries, memory, mask)
check.close(context, attention.dot_product_attention(queries, memory, mask)[0], name="the course's")
theirs = keras.layers.Attention()([queries, memory], mask=[None, mask], return_attention_scores=True)
check.close(context, theirs[0], name="context, Keras' layer")
check.close(weights, theirs[1], name="weights, Keras' layer")

# %% [markdown]
# The first attention for translation (Bahdanau et al., 2015) was *additive*: a small network scores each pair of query
# and place, $e_s = v \cdot \tanh(W q + U m_s + b)$.


# %%
def my_additive_scores(queries, memory, W, U, b, v):  # [B, T, D], [B, S, D] -> [B, T, S]
    joined = np.tanh((queries @ W)[:, :, None] + (memory @ U + b)[:, None])  # [B, T, S, units]
    return joined @ v


layer, theirs = attention.AdditiveAttention(4), keras.layers.AdditiveAttention()
context, weights = layer(queries, memory, mask)
W, U, b, v = (
    ops.convert_to_numpy(x) for x in (layer.query.kernel, layer.key.kernel, layer.key.bias, layer.score.kernel)
)
scores = np.where(mask[:, None], my_additive_scores(queries, memory, W, U, b, v[:, 0]), -1e9)
check.close(np.exp(scores) / np.exp(scores).sum(-1, keepdims=True), weights, name="weights")
projected = [layer.query(queries), memory, layer.key(memory)]  # query, value, key
theirs.build([x.shape for x in projected])
theirs.scale.assign(v[:, 0])
check.close(context, theirs(projected, mask=[None, mask]), name="Keras' layer")

# %% [markdown]
# The models of this chapter use Luong's *general* score (Luong et al., 2015), $q^\top W m_s$: a dot product after one
# matrix. Context and decoder output together then give the logits. Now look at what a trained one does:

# %%
chosen = [reader.translate_in_detail([text])[0] for text in ("Thursday, 4 March 2021", "2021年3月4日星期四")]
seq2seq_plots.compare_attention({one.source: one for one in chosen})

# %% [markdown]
# Read each map from the top. Year, month and day of the English date stand in another order than in the ISO form, and
# the dark cells jump accordingly: first to the end, then back to the first letters of *March*, at last to the 4. In the
# Chinese date the order is the same, and the dark cells run nearly along a diagonal.
#
# ## One vector is a bottleneck
#
# Without attention, all the decoder gets is the encoder's last state, one vector of fixed width, however long the text
# (Sutskever et al., 2014). That should hurt where there is more to remember. Dates are no test of it, since each holds
# the same: a day out of 36,525. So take rows of digits, to be written *backwards*; every digit counts.


# %%
def digit_rows(num, longest, seed):
    rng = np.random.default_rng(seed)
    return ["".join(map(str, rng.integers(0, 10, length))) for length in rng.integers(1, longest + 1, num)]


def backwards_arrays(model, rows, width):
    """Rows of digits and their targets for ``fit``, all padded to ``width`` digits and END."""
    (sources, given), targets = model.arrays(rows, [row[::-1] for row in rows])
    sources, given, targets = (np.pad(x, ((0, 0), (0, width + 1 - x.shape[1]))) for x in (sources, given, targets))
    return (sources, given), targets


def trained_backwards(rows, epochs, width, kind=seq2seq.Seq2Seq, seed=0, **options):
    """A model that writes rows of digits backwards."""
    keras.utils.set_random_seed(seed)
    sides, limits = [Vocabulary("0123456789")] * 2, {"max_source_length": width, "max_target_length": width}
    model = kind(*sides, hidden_dim=32, embedding_dim=16, **limits, **options)
    rate = keras.optimizers.schedules.CosineDecay(1e-2, epochs * -(-len(rows) // 32))
    model.compile(keras.optimizers.Adam(rate, clipnorm=1.0))
    model.fit(*backwards_arrays(model, rows, width), epochs=epochs, batch_size=32, verbose=0)
    return model


# %%
rows, backwards = digit_rows(sizes.rows, sizes.longest, seed=1), {}
for name, looks in {"with attention": True, "without": False}.items():
    backwards[name] = trained_backwards(rows, sizes.row_epochs, sizes.longest, attention=looks)
    print(f"{name:15} {backwards[name].count_params():,} weights")

# %%
lengths, num = list(range(1, sizes.longest + 1)), 100
rng, curves = np.random.default_rng(2), {name: [] for name in backwards}
for length in lengths:
    asked = ["".join(map(str, rng.integers(0, 10, length))) for _ in range(num)]
    for name, model in backwards.items():
        curves[name].append(model.exact_match(asked, [row[::-1] for row in asked]))
errors = {name: [np.sqrt(p * (1 - p) / num) for p in curve] for name, curve in curves.items()}
plots.show(seq2seq_plots.accuracy_by_length(lengths, curves, errors, xlabel="digits in the row"))
check.between("seq2seq/backwards_attention", np.mean(curves["with attention"]))
check.between("seq2seq/backwards_plain", np.mean(curves["without"]))

# %% [markdown]
# Share of rows that are right to the last digit, a hundred of each length; bars are one standard error. Both models had
# the same data, epochs and width. The curve without attention falls as the rows get longer; the one with attention
# stays up. Fair warning: attention brings weights of its own (the counts stand above), and a wider model without it, or
# one trained for longer, may well hold out for longer rows.
#
# ## Train on dates
#
# Now the real task, live. The rate of Adam falls along a cosine, and gradients longer than 1 are shortened: a recurrent
# network's can explode.

# %%
live = recipes.build_dates()
live.compile(recipes.dates_optimizer(sizes.date_epochs * -(-len(data.train) // 128)))
inputs = live.arrays(data.train.sources, data.train.targets)
history = training.fit(live, inputs, epochs=sizes.date_epochs, batch_size=128)

# %%
plain, into_chinese = checkpoints.load("dates-iso-plain"), checkpoints.load("dates-zh")
held = {language: dates.load_dates("iso", (language,), 1, 0, sizes.num_test).test for language in dates.LANGUAGES}
to_zh = dates.load_dates("zh", num_train=1, num_validation=0, num_test=sizes.num_test).test
exact = {}
for name, model in {"live": live, "shipped": reader, "without attention": plain}.items():
    exact[name] = [model.exact_match(part.sources, part.targets) for part in held.values()]
    print(f"{name:18} held-out dates right: English {exact[name][0]:.2%}, Chinese {exact[name][1]:.2%}")
exact["zh"] = into_chinese.exact_match(to_zh.sources, to_zh.targets)
print(f"English to Chinese, shipped: {exact['zh']:.2%}")
live_accuracy = live.evaluate(*live.arrays(data.test.sources, data.test.targets), verbose=0, return_dict=True)[
    "accuracy"
]
check.between("seq2seq/live_accuracy", live_accuracy)
check.between("seq2seq/dates_en_exact", exact["shipped"][0])
check.between("seq2seq/dates_zh_exact", exact["shipped"][1])
check.between("seq2seq/dates_plain_exact", np.mean(exact["without attention"]))
check.between("seq2seq/into_chinese_exact", exact["zh"])

# %% [markdown]
# *Exact match* counts a date only if every character is right. On 5,000 held-out dates a language the shipped model
# makes no mistake, nor does the one into Chinese, nor do two more trainings of each. Without attention 99.4 %,
# 99.4 % and 99.5 % of the English dates are right in three trainings, of the Chinese 99.9, 99.8 and 99.9 %. So
# attention is no necessity here. But it learns sooner: in two trainings beside each other, one pass through 40,000
# pairs gave 98 % of the validation dates with attention and 15 % without.
#
# ## The decoding loop
#
# The documents stop at `fit`, with a model that cannot write. What it has is a distribution for the next character. To
# write, choose one, read it, and go on. Choosing the most probable each time is *greedy* decoding. `model.step` is one
# step of the decoder; `beginnings` lets us start in the middle, which we shall need.


# %%
def my_translate(model, texts, beginnings=None):  # texts, target beginnings of one length -> texts
    source_ids = model.source_vocabulary.encode(texts, end=True)
    beginnings = beginnings or [""] * len(texts)
    memory, states = model.encode(source_ids)
    mask, written = model.padding_mask(source_ids), []
    for given in model.target_vocabulary.encode(beginnings, start=True).T:
        logits, states = model.step(given, states, memory, mask)
    while len(written) <= model.max_target_length:
        written.append(ops.convert_to_numpy(logits).argmax(-1))
        if np.all(np.any(np.array(written) == END, axis=0)):
            break
        logits, states = model.step(written[-1], states, memory, mask)
    rest = model.target_vocabulary.decode(np.array(written).T)
    return [beginning + text for beginning, text in zip(beginnings, rest, strict=True)]


# %%
some = data.test.sources[:128]
written = reader.translate(some)
assert my_translate(reader, some) == written
(source_ids, decoder_ids), target_ids = reader.arrays(some, written)
best = ops.convert_to_numpy(reader((source_ids, decoder_ids))).argmax(-1)
assert (best == target_ids)[target_ids != PAD].all()
print("same texts as translate, and every character the first choice of the teacher-forced model")

# %% [markdown]
# The second check is the one to keep for any decoder: feed it with its own output, and its first choice at every step
# must be that output. A loop that forgets its state, or reads the wrong character, fails it.
#
# Step through it. **Question:** at which steps has the decoder nothing to decide?

# %%
widgets.explore(
    seq2seq_plots.step_panel(reader),
    alt="What is written so far, the five best candidates for the next character, and where the model looks",
    text=widgets.text("the 4th of March, 2021", "a date"),
    step=widgets.slider(1, 11, 1, 6, "step"),
)

# %% [markdown]
# A loop in Python is slow, and slower still with one text at a time and one `predict` a character. `translate` compiles
# the loop and runs a batch until its last text has ended.


# %%
def one_predict_a_character(model, text):
    source_ids, written = model.source_vocabulary.encode([text], end=True), []
    given = np.full((1, model.max_target_length + 1), PAD, "int32")
    given[0, 0] = START
    while END not in written and len(written) < given.shape[1]:
        written.append(int(model.predict((source_ids, given), verbose=0)[0, len(written)].argmax()))
        given[0, len(written) :][:1] = written[-1]
    return model.target_vocabulary.decode([written])[0]


# %%
many = data.test.sources[: sizes.num_timed]
seconds = {}
for name, translate in {
    "one predict a character": lambda texts: [one_predict_a_character(reader, text) for text in texts[:4]],
    "compiled batch": reader.translate,
}.items():
    translate(many)  # compiles
    start = time.perf_counter()
    texts = translate(many)
    seconds[name] = (time.perf_counter() - start) / len(texts)
    print(f"{name:24} {1000 * seconds[name]:8.2f} ms a date   {texts[0]}")
check.between("seq2seq/times_faster", seconds["one predict a character"] / seconds["compiled batch"])

# %% [markdown]
# Same output, in a small part of the time. `python -m benchmarks.seq2seq` takes 32 dates and lets both ways run in
# turn: compiled, a text took 110 times less time alone and 2,200 times less in a batch (two cores, beside other work).
#
# ## When greedy is wrong
#
# The most probable first character need not begin the most probable text. *Beam search* keeps the $K$ best beginnings
# instead of one. A tree of two steps shows it:


# %%
def my_beam(tree, width):
    beams = [(0.0, "")]
    for _ in range(2):
        grown = [(score + np.log(p), text + token) for score, text in beams for token, p in tree[text].items()]
        beams = sorted(grown, reverse=True)[:width]
    return [(text, round(float(np.exp(score)), 3)) for score, text in beams]


tree = {"": {"a": 0.6, "b": 0.4}, "a": {"x": 0.4, "y": 0.35, "z": 0.25}, "b": {"x": 0.9, "y": 0.1}}
print("greedy  ", my_beam(tree, 1))
print("width 2 ", my_beam(tree, 2))

# %% [markdown]
# `a` is the better first step and 0.24 its best end; `bx` has 0.36. Real beams differ in length, and each further
# character costs: sums of log-probabilities favour texts that stop early. So at the end beams are compared by
# $\log p / ((5 + n)/6)^{\alpha}$ (Wu et al., 2016, eq. 14) with $n$ characters and, here, $\alpha = 0.6$; $\alpha = 0$
# compares the sums. Does it help on dates?

# %%
part = held["en"]
few, answers = part.sources[: sizes.num_timed], part.targets[: sizes.num_timed]
for width in (1, 4):
    for name, model in {"live": live, "shipped": reader}.items():
        found = model.translate(few, beam_width=width)
        nats = -model.log_likelihood(few, found).mean()
        match = np.mean([text == answer for text, answer in zip(found, answers, strict=True)])
        print(f"{name:8} width {width}: right {match:.1%}, cost of what it wrote {nats:.3f} nats")

# %% [markdown]
# Beam search usually finds texts to which *the model* gives more probability. Where the model is sure of every
# character that changes nothing, and where it is bad, a likelier text is not a better one: a search cannot know more
# than the model. Where it is good but unsure, a small width gains a little: in Sutskever et al. (2014, table 1) five
# models together reach a BLEU of 33.0 at width 1, 34.5 at 2 and 34.8 at 12, English to French.
#
# One can also *draw* the next character, from $\mathrm{softmax}(\text{logits} / \tau)$: temperature $\tau = 1$ takes
# the model's own probabilities, below 1 it prefers the likely ones, above it levels them. **Question:** from which
# temperature on does the shipped model write dates that do not exist? Which characters hold out longest?

# %%
widgets.explore(
    seq2seq_plots.translation_panel(reader),
    alt="A translation drawn at a temperature, the probability of each character, and the attention map",
    text=widgets.text("20th September 1984", "a date"),
    temperature=widgets.slider(0.0, 4.0, 0.1, 3.0, "temperature"),
    seed=widgets.slider(0, 40, 1, 0, "seed"),
)

# %%
temperatures = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0]
models = {"shipped": reader, "live": live}
hot = {name: [m.exact_match(few, answers, temperature=t) for t in temperatures] for name, m in models.items()}
plots.show_curves(hot, x=temperatures, xlabel="temperature", ylabel="exact match")

# %% [markdown]
# With one right answer every draw is a risk, and the curve of a good model falls. Drawing is for tasks with many good
# answers. Here is the beam as a slider, on the model that you trained:

# %%
widgets.explore(
    seq2seq_plots.translation_panel(live),
    alt="A translation of the model trained above by beam search, its confidences, and the attention map",
    text=widgets.text("Friday, 31 Jan 1975", "a date"),
    beam_width=widgets.slider(1, 4, 1, 4, "beam width"),
)

# %% [markdown]
# ## A past it never saw
#
# In training the past was always right. When the model writes, its past is its own, and one slip leads to a place where
# it has never been. This gap is called *exposure bias* (Ranzato et al., 2016; Bengio et al., 2015, mixed the model's
# own output into training). Force one wrong digit, let it go on, and count how often the *rest* is right.

# %%
wrong_at = [0, 2, 3, 5, 6, 8]
sources, answers = data.test.sources[:200], data.test.targets[:200]
rest_right = {name: [] for name in ("with attention", "without")}
for at in wrong_at:
    slips = [answer[:at] + str((int(answer[at]) + 1) % 10) for answer in answers]
    for name, model in zip(rest_right, (reader, plain), strict=True):
        ends = [text[at + 1 :] for text in my_translate(model, sources, slips)]
        rest_right[name].append(np.mean([end == answer[at + 1 :] for end, answer in zip(ends, answers, strict=True)]))
for name, shares in rest_right.items():
    print(
        f"{name:15}", ", ".join(f"{share:.0%} after digit {at + 1}" for at, share in zip(wrong_at, shares, strict=True))
    )
check.between("seq2seq/rest_after_slip", np.mean(rest_right["with attention"]))

# %%
for begin in ("1", "203", "2021-1", "2021-03-3"):
    print(f"{begin:10} -> {my_translate(reader, ['4 March 2021'], [begin])[0]}")

# %% [markdown]
# With attention the rest stays right after most slips: the next character is looked up in the source, whatever stands
# before it. Two places are exceptions, the first digit of the year and that of the month. With a 1 for the month, 4
# March would need a thirteenth month, and the model writes 10 instead: the decoder is also a language model of dates,
# and here the habit beats the source. Without attention a slip costs more on average, since what was written has
# entered the only memory there is.
#
# ## The unmasked loss
#
# Back to the three-line fault: 2,000 rows of up to eight digits, two passes, and for the faulty model every batch
# padded to 64 steps, as listings with a fixed width do. (The masked model would not notice the padding, so it is spared
# it.) Each model reports the accuracy over the steps that its own loss counts, on rows it has not seen.


# %%
def accuracy_of(model, rows, width, counts_padding):
    """Teacher-forced accuracy over characters, or over everything."""
    inputs, targets = backwards_arrays(model, rows, width)
    right = model.predict(inputs, verbose=0).argmax(-1) == targets
    return right.mean() if counts_padding else right[targets != PAD].mean()


few_rows, asked, outcome = digit_rows(2000, 8, seed=1), digit_rows(500, 8, seed=3), {}
for name, kind, width in (("masked", seq2seq.Seq2Seq, 8), ("unmasked", Unmasked, 64)):
    model = trained_backwards(few_rows, 2, width, kind)
    shares = [accuracy_of(model, asked, width, counts) for counts in (kind is Unmasked, False)]
    outcome[name] = *shares, model.exact_match(asked, [row[::-1] for row in asked])
    print(f"{name:9} reports {shares[0]:.1%}; digits {shares[1]:.1%}; whole rows {outcome[name][2]:.1%}")
check.between("seq2seq/unmasked_report", outcome["unmasked"][0] - outcome["masked"][0])
check.between("seq2seq/unmasked_exact", outcome["unmasked"][2] - outcome["masked"][2])

# %% [markdown]
# The faulty model reports the higher accuracy and translates worse. Over three seeds it reported 94 %, with 28 to 34 %
# of the digits and 1 to 5 % of the rows right; the masked one 70 to 81 %, with 32 to 41 % of the rows. Most of the
# faulty loss is spent on predicting padding, which is easy. On a task as plain as this the damage wears off: after
# eight passes, padded to 32 steps, both had every row right. What stays is a figure that nobody can compare.
#
# ## BLEU from first principles
#
# Dates have one right answer, sentences have many, and exact match would call most good translations wrong. *BLEU*
# (Papineni et al., 2002) counts runs of $n$ tokens, *n-grams*: what share $p_n$ of the translation's stands in the
# reference too, each counted at most as often as there (*clipped*)?


# %%
def my_precision(hypothesis, reference, n):  # two lists of tokens -> share
    made, right = (Counter(zip(*(tokens[k:] for k in range(n)), strict=False)) for tokens in (hypothesis, reference))
    return (made & right).total() / made.total()


reference = ["the", "cat", "is", "on", "the", "mat"]
for text in ("the the the the", "the cat sat on the mat", "the cat"):
    precisions = [my_precision(text.split(), reference, n) for n in (1, 2)]
    theirs = sacrebleu.corpus_bleu([text], [["the cat is on the mat"]], tokenize="none", smooth_method="none")
    check.close(np.array(precisions) * 100, theirs.precisions[:2], name=f"{text!r} {precisions}")

# %% [markdown]
# Without clipping `the the the the` would score 100 %. `the cat` does: every word of it is right. Hence the *brevity
# penalty* $e^{1 - r/c}$ for a translation of $c$ tokens that is shorter than its reference of $r$; here $e^{-2}$. BLEU
# is penalty times geometric mean, $\mathrm{BLEU}_n = P\,(p_1 p_2 \cdots p_n)^{1/n}$, usually with $n = 4$, pooled over
# the whole corpus:


# %%
def my_bleu(hypothesis, reference, order=4):
    precisions = [my_precision(hypothesis, reference, n) for n in range(1, order + 1)]
    penalty = min(1, np.exp(1 - len(reference) / len(hypothesis)))
    return 100 * penalty * np.prod(precisions) ** (1 / order)


made, right = "she had tea in the garden of the old house", "she drank tea in the garden of the old red house"
bleu = metrics.corpus_bleu([made], [[right]])
check.close([my_bleu(made.split(), right.split(), n) for n in (1, 2, 3, 4)], bleu.cumulative, name="BLEU-1 to BLEU-4")
check.close(bleu.score, sacrebleu.corpus_bleu([made], [[right]]).score, name="sacrebleu")
print(bleu)
print(f"chrF {metrics.chrf([made], [[right]]):.1f}, sacrebleu {sacrebleu.corpus_chrf([made], [[right]]).score:.1f}")

# %% [markdown]
# *chrF* (Popović, 2015) does the same with runs of one to six *characters* and also asks what share of the reference
# was covered. It does not care where a word ends, which in Chinese no blank tells; for BLEU in Chinese every character
# is a token.
#
# One document prints BLEU-1 to BLEU-4 of 70.2, 76.4, 81.1, 87.3. Can that be? Raise two neighbours to their powers, and
# all but one precision cancels: $\mathrm{BLEU}_n^{\,n} / \mathrm{BLEU}_{n-1}^{\,n-1} = P\, p_n \le 1$.

# %%
for name, row in {"document": [70.2, 76.4, 81.1, 87.3], "ours above": bleu.cumulative}.items():
    test = metrics.quotient_test(row)
    print(
        f"{name:11}", " ".join(f"{value:.3f}" for value in test.values), "possible" if test.possible else "impossible"
    )


# %%
def implied(before, after):
    """The precision of runs of four that BLEU-3 and BLEU-4 imply."""
    value = (after / 100) ** 4 / (before / 100) ** 3
    verdict = "possible" if value <= 1 else "impossible for any corpus"
    title = f"penalty times p₄ = {value:.3f}: {verdict}"
    return seq2seq_plots.weights_bars(["BLEU-3", "BLEU-4", "P·p₄"], [before / 100, after / 100, min(value, 1)], title)


widgets.explore(
    implied,
    alt="Three bars, two BLEU scores and the precision that they imply",
    before=widgets.slider(1.0, 100.0, 0.1, 81.1, "BLEU-3"),
    after=widgets.slider(1.0, 100.0, 0.1, 87.3, "BLEU-4"),
)

# %% [markdown]
# The fourth quotient is 1.089: more than all runs of four would have to be right. No corpus has such scores. (Careful:
# "BLEU-n falls with n" is no law. Exercise 3 finds a corpus where it rises.)
#
# Now the scores on English to Chinese, beside a model that answers every question with the same day:

# %%
asked, answers = to_zh.sources[:256], to_zh.targets[:256]
answered = {
    "shipped": into_chinese.translate(asked),
    "drawn, temperature 2": into_chinese.translate(asked, temperature=2.0),
    "always the same day": [answers[0]] * len(asked),
}
references, scores = [[answer] for answer in answers], {}
for name, texts in answered.items():
    match = np.mean([text == answer for text, answer in zip(texts, answers, strict=True)])
    scores[name] = metrics.corpus_bleu(texts, references, tokenise="zh").score
    print(f"{name:21} right {match:6.1%}  BLEU {scores[name]:5.1f}  chrF {metrics.chrf(texts, references):5.1f}")
check.between("seq2seq/chinese_bleu", scores["shipped"])
check.between("seq2seq/same_day_bleu", scores["always the same day"])

# %% [markdown]
# The last row knows nothing and still has a BLEU above 10, since 年, 月 and 日 stand in every answer. A score means
# something only beside that of a trivial model.
#
# On real sentences the difference is plain. `python -m benchmarks.seq2seq --pairs FILE` trains on 19,482
# English-Chinese pairs of Tatoeba, sixteen passes, and translates 1,000 held-out sentences; one training each, about
# nine minutes on two cores:
#
# | model | BLEU | chrF | BLEU with a beam of 4 |
# |---|---|---|---|
# | always the most frequent sentence | 0.3 | 1.3 | |
# | without attention | 16.9 | 15.9 | 18.5 |
# | with attention | 30.4 | 26.1 | 31.8 |
#
# Good: *who is your english teacher?* 你的英语老师是谁？ Nearly: *I'll write or phone you next week* 我下周会给你写电话
# (write and phone have become one). Bad: *Tom went to Boston for a week* 汤姆去波士顿去波士顿 (he goes twice, and the
# week is gone): nothing tells the decoder which words are done.
#
# ## Where it goes wrong
#
# An exact match says how often; an error analysis says where. By pattern first: the live model's worst.

# %%
by_pattern = {}
for text, answer, pattern in zip(live.translate(data.test.sources), data.test.targets, data.test.patterns, strict=True):
    by_pattern.setdefault(pattern, []).append(text == answer)
worst = sorted(by_pattern, key=lambda pattern: np.mean(by_pattern[pattern]))[:6]
for pattern in worst:
    print(f"{pattern:30} {np.mean(by_pattern[pattern]):6.1%} of {len(by_pattern[pattern])}")

# %%
edges = [0, 10, 14, 18, 24, 48]
names = [f"{low + 1}-{high}" for low, high in pairwise(edges)]
size = np.array([len(text) for text in data.test.sources])
groups = [np.flatnonzero((size > low) & (size <= high)) for low, high in pairwise(edges)]
curves, errors = {}, {}
for name, model in {"live": live, "shipped": reader, "shipped, no attention": plain}.items():
    texts = model.translate(data.test.sources)
    good = np.array([text == answer for text, answer in zip(texts, data.test.targets, strict=True)])
    curves[name] = [good[group].mean() for group in groups]
    errors[name] = [good[group].std() / np.sqrt(len(group)) for group in groups]
plots.show(seq2seq_plots.accuracy_by_length(names, curves, errors))

# %%
mistakes = {}
for name, model in {"shipped": reader, "shipped, no attention": plain}.items():
    triples = zip(data.test.sources, data.test.targets, model.translate(data.test.sources), strict=True)
    mistakes[name] = [row for row in triples if row[1] != row[2]]
    print(f"{name:22} {len(mistakes[name])} of {len(data.test)} held-out dates wrong")
first = (mistakes["shipped, no attention"] + mistakes["shipped"])[:6] or [("no mistake", "", "")]
seq2seq_plots.translations_table(first, title="First mistakes, the model without attention")

# %% [markdown]
# A pattern that fails as a whole has not been learned; a miss here and there is a slip. A longer date holds no more
# information than a short one, only more letters to find it in, and the shipped model does not mind. Look for the
# lengths at which the model without attention makes its few mistakes.
#
# And outside its world? These are no dates, or none that can be known:

# %%
strange = ["31 February 2021", "03/04/05", "4 March 1066", "Friday, 4 March 2021", "yesterday", "Tom", "🙂"]
for one in reader.translate_in_detail(strange):
    print(f"{one.source:22} {one.text:12} least sure of a character: {one.probabilities.min():.2f}")

# %% [markdown]
# It answers everything. The 31st of February is written down as if it existed, and 03/04/05 gets one of its readings,
# both without a doubt; 1066 lies outside its hundred years and becomes 2066; that 4 March 2021 was a Thursday goes
# unnoticed. The probabilities are shares among the texts that it knows how to write, and "this is no date" is not one
# of them. For what resembles no date at all they are low, so a low one is a warning; a high one is no proof. Whether
# the question makes sense must be tested elsewhere.
#
# ## Sentences of your own
#
# `load_pairs` reads a file with one pair a line, separated by a tab, such as Tatoeba's. Real files are dirty. This one
# is so on purpose:

# %%
good = [f"I have {n} cats.\t我有{n}只猫。" for n in range(10, 22)]
bad = ["", "no tab here", "a\tb\tc\td", "Hello!\t", good[0], "Why?\t为什么\ufffd？", "word " * 40 + "\t长"]
with TemporaryDirectory() as folder:
    path = Path(folder) / "pairs.txt"
    path.write_bytes("\n".join(good + bad).encode() + b"\nbroken \xff\xfe\t\xb0\xa1\n")
    corpus = pairs.load_pairs(path, num_validation=2, num_test=2)
print(corpus.report)
print(corpus.train.sources[0], "->", corpus.train.targets[0])

# %% [markdown]
# Every line is accounted for, with the place of what was dropped. The split is by source sentence, since one sentence
# often has several translations; the last line but one counts test sentences with an answer known from training.
#
# ## What the documents got wrong

# %%
corrections.table("06")

# %% [markdown]
# A10 and C5 are the two that anyone can meet again in print: a score that counts padding, and a row of numbers that
# cannot be. Both need no training to find out, only a calculation.
#
# ## Exercises
#
# **1. An honest accuracy.** Share of characters whose most probable id is the target, padding not counted.


# %% tags=["exercise"]
def honest_accuracy(target_ids, logits):  # [B, T], [B, T, V] -> share
    return ...


# %% tags=["solution"]
def honest_accuracy(target_ids, logits):  # [B, T], [B, T, V] -> share
    return (logits.argmax(-1) == target_ids)[target_ids != PAD].mean()


# %%
def test_honest_accuracy(answer):
    rng = np.random.default_rng(0)
    ids, logits = rng.integers(1, 5, (6, 4)), rng.normal(size=(6, 4, 5)).astype("float32")
    ids[2:, 2:] = PAD
    check.close(answer(ids, logits), seq2seq.masked_accuracy(ids, logits), name="random logits")
    padded = np.pad(ids, ((0, 0), (0, 9))), np.pad(logits, ((0, 0), (0, 9), (0, 0)))
    check.close(answer(*padded), answer(ids, logits), name="nine columns of padding change nothing")


check.exercise("06.1 honest accuracy", honest_accuracy, test_honest_accuracy, hint="Choose the steps with a mask.")

# %% [markdown]
# **2. Attention that reverses.** The memory holds one-hot vectors (the unit matrix). Which queries make
# `my_attention` return the memory in reverse order, to three digits? This is what the decoder of the digit rows had to
# learn.


# %% tags=["exercise"]
def reversing_queries(length):  # -> [1, length, length]
    return ...


# %% tags=["solution"]
def reversing_queries(length):  # -> [1, length, length]
    return 20 * np.eye(length)[None, ::-1]  # long queries: the softmax nearly picks one place


# %%
def test_reversing(answer):
    for length in (2, 6):
        memory = np.eye(length)[None]
        context, _ = my_attention(np.asarray(answer(length)), memory, np.ones((1, length), bool))
        check.close(context, memory[:, ::-1], tolerance=1e-3, name=f"{length} places reversed")


check.exercise("06.2 reversal", reversing_queries, test_reversing, hint="A long query picks the place it points to.")

# %% [markdown]
# **3. BLEU that rises.** Find translations and references whose BLEU-1 to BLEU-4 *rise*, and which are possible all the
# same. One sentence is enough if it repeats itself; or use two sentences of very unequal length.


# %% tags=["exercise"]
def rising_corpus():  # -> list of texts, list of lists of references
    return ...


# %% tags=["solution"]
def rising_corpus():  # -> list of texts, list of lists of references
    return ["a b c x y z w a b c"], [["x y z w a b c x y z w"]]  # clipping hits single words only


# %%
def test_rising(answer):
    hypotheses, references = answer()
    scores = metrics.corpus_bleu(hypotheses, references, tokenise="none").cumulative
    assert all(a < b for a, b in pairwise(scores)), f"BLEU-1 to BLEU-4 are {np.round(scores, 1)}"
    assert metrics.quotient_test(scores).possible


check.exercise("06.3 rising BLEU", rising_corpus, test_rising, hint="One short wrong text beside a long right one.")

# %% [markdown]
# **4. Temperature.** Probabilities of the next token at temperature $\tau > 0$, safe for large logits.


# %% tags=["exercise"]
def tempered(logits, temperature):  # [V] -> [V]
    return ...


# %% tags=["solution"]
def tempered(logits, temperature):  # [V] -> [V]
    scaled = (logits - np.max(logits)) / temperature
    return np.exp(scaled) / np.exp(scaled).sum()


# %%
def test_tempered(answer):
    logits = np.array([1000.0, 999.0, 990.0])
    check.close(answer(logits, 1.0).sum(), 1.0, name="they sum to 1")
    check.close(answer(logits, 1.0)[1] / answer(logits, 1.0)[0], np.exp(-1.0), name="ratio at 1")
    check.close(answer(logits, 0.01), np.array([1.0, 0.0, 0.0]), name="near 0 it is greedy")
    check.close(answer(logits, 1e6), np.full(3, 1 / 3), tolerance=1e-4, name="far above 1 it is a fair die")


check.exercise("06.4 temperature", tempered, test_tempered, hint="Subtract the largest logit before you divide.")

# %% [markdown]
# **5. Open end.** Teach the live model to say that something is no date: invent sources that are none, give them the
# target `-`, train on both, and measure two shares on held-out texts: nonsense refused, dates still right. Then look
# for nonsense that your training did not contain.
#
# ## Summary
#
# - A sequence-to-sequence decoder is autoregressive: a product of next-token probabilities, given a source. Training
#   feeds the true past, shifted by one; writing feeds its own.
# - Padding must count nowhere: state, attention, loss, accuracy. Print the masked accuracy.
# - Attention is a softmax over dot products and a weighted mean. It removes the bottleneck of one vector.
# - Greedy, beam and drawing are three ways to use one distribution. None repairs the model.
# - BLEU and chrF count shared runs. Give them beside a trivial model's, and check that they are possible.
# - A model answers outside its world as firmly as inside it.
#
# ## Sources

# %%
models = ["sutskever2014", "cho2014", "bahdanau2015", "luong2015", "hochreiter1997", "gers2000", "schuster1997"]
others = ["williams1989", "bengio2015", "ranzato2016", "wu2016", "papineni2002", "popovic2015", "post2018"]
corrections.references([*models, *others])

# %% [markdown]
# **Where to go next:** chapter 08 gives an image a code with a distribution over it. The Transformer
# (chapter 09, in preparation) keeps the attention of this chapter and drops the recurrence.
