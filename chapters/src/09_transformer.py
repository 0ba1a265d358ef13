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
# # 09 · The Transformer
#
# You take the translator of chapter 06 apart, throw the recurrence away and keep the attention. What is left, put
# together with care, is the network under nearly every large language model: the Transformer (Vaswani et al., 2017).
#
# Attention, masks, heads, positions, layer normalisation, dropout and a whole block stand here in a few lines of NumPy
# each, and each is held against another implementation, the framework's own layer where there is one. Five exercises
# ask for lines of your own.
#
# *About 90 minutes, two to three of them training.*

# %%
from aigc_course import runtime

print(runtime.setup(seed=0))
sizes = runtime.sizes("09_transformer")

# %%
import time
from calendar import month_name
from datetime import timedelta

import keras
import numpy as np
from keras import ops

from aigc_course import (
    check,
    checkpoints,
    compiled,
    corrections,
    plots,
    recipes,
    seq2seq_plots,
    training,
    transformer,
    transformer_plots,
    widgets,
)
from aigc_course.datasets import dates
from aigc_course.vocabulary import Vocabulary

reader = checkpoints.load("dates-transformer")
widgets.explore(
    transformer_plots.attention_panel(reader),
    alt="A map of attention weights, tokens that look in rows, tokens that are looked at in columns",
    text=widgets.text("Thursday, 4 March 2021", "a date", examples=("二〇二一年三月四日星期四",)),
    kind=widgets.choice(transformer_plots.KINDS, "cross", "who looks at whom"),
    block=widgets.slider(1, reader.num_layers, 1, 1, "block"),
    head=widgets.slider(1, reader.num_heads, 1, 1, "head"),
)

# %% [markdown]
# Type a date, in English or Chinese, and move the sliders. The model reads it and writes the day in ISO form. In
# chapter 06 there was one map; here are three kinds, with one map for each *block* and *head*. The stronger a cell's
# colour, the larger the weight of that column in the row's mean. **Question:** for which written characters do all
# heads of a block look at the same place, and where do they differ?
#
# All heads of the encoder at a glance; here rows and columns are both the source:

# %%
plots.show(transformer_plots.every_head(reader, "Thursday, 4 March 2021", "encoder"))

# %% [markdown]
# Each small square is one head of the encoder, in which the source looks at itself. In block 1 heads 2 and 3 look
# along the diagonal, one or two characters back. In block 2 head 2 gathers many rows at the columns of *March* (13 to
# 17 of 23; the panel above shows them by name). Nobody told a head what to do.
#
# ## The data
#
# The dates of chapter 06: one day, about sixty ways to write it, and no day of the test part occurs in training in any
# form.

# %%
data = dates.load_dates("iso", num_train=sizes.dates, num_test=sizes.num_test)
for source, target in list(zip(data.train.sources, data.train.targets, strict=True))[:8]:
    print(f"{target}  {source}")

# %% [markdown]
# ## Attention, from three vectors
#
# In chapter 06 the memory played two parts: its vectors were compared with the query, and they were what was fetched.
# Here the two parts are separate. Each place has a *key* $k_s$, by which it is found, and a *value* $v_s$, which is
# handed over. Scores are divided by the root of the width $d$ of queries and keys:
#
# $$\text{attention}(Q, K, V) = \mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt{d}}\right) V.$$
#
# **Three vectors.** Query $(1, 1, 0, 0)$; keys $(2, 2, 0, 0)$, $(2, 0, 1, 0)$, $(0, 0, 3, 1)$; values $(1, 0)$,
# $(0, 1)$, $(-1, -1)$. Dot products 4, 2, 0. Divided by $\sqrt 4$: 2, 1, 0. Their exponentials 7.389, 2.718, 1,
# together 11.107. Weights 0.665, 0.245, 0.090. Result $0.665\,(1, 0) + 0.245\,(0, 1) + 0.090\,(-1, -1) =
# (0.575, 0.155)$.
#
# The mask says which keys may be looked at; the others get a score of minus a billion.


# %%
def my_attention(queries, keys, values, mask=None):  # [..., T, D], [..., S, D], [..., S, E] -> [..., T, E], [..., T, S]
    scores = queries @ np.swapaxes(keys, -1, -2) / np.sqrt(keys.shape[-1])
    if mask is not None:
        scores = np.where(mask, scores, -1e9)
    raised = np.exp(scores - scores.max(-1, keepdims=True))
    weights = raised / raised.sum(-1, keepdims=True)
    return weights @ values, weights


query, keys = np.array([[1.0, 1, 0, 0]]), np.array([[2.0, 2, 0, 0], [2, 0, 1, 0], [0, 0, 3, 1]])
found, weights = my_attention(query, keys, np.array([[1.0, 0], [0, 1], [-1, -1]]))
print(weights.round(3), found.round(3))

# %% [markdown]
# The same for random arrays with a mask, beside the course's function and the framework's. (The framework wants the
# steps before the heads; there is one head.)

# %%
rng = np.random.default_rng(0)
queries, keys, values = (rng.normal(size=(2, steps, 6)).astype("float32") for steps in (5, 7, 7))
mask = np.arange(7) < np.array([[[7]], [[4]]])  # [2, 1, 7]: the second memory has four steps
found, weights = my_attention(queries, keys, values, mask)
ours = transformer.scaled_dot_product_attention(queries, keys, values, mask)
check.close(found, ours[0], name="the course's")
check.close(weights, ours[1], name="its weights")
theirs = ops.dot_product_attention(*(x[:, :, None] for x in (queries, keys, values)), mask=mask[:, None])
check.close(found, theirs[:, :, 0], name="Keras'")

# %% [markdown]
# ## Why the root
#
# Let the entries of query and key be independent with mean 0 and variance 1. Each product of two entries has variance
# 1, so the dot product, a sum of $d$ of them, has variance $d$: its size grows like $\sqrt d$. Chapter 06 showed what
# long queries do to a softmax. Below, six random keys; one row of bars without the division, one with it.

# %%
widgets.explore(
    transformer_plots.scaling_bars,
    alt="Two rows of six bars, the attention weights without and with division by the root of the width",
    width=widgets.slider(2, 512, 2, 64, "width"),
    seed=widgets.slider(0, 20, 1, 0, "other keys"),
)

# %% [markdown]
# With growing width the upper bars mostly become one bar of nearly length 1. (Not always: with *other keys* at 16 and
# width 512 two keys match almost equally well and share it.) The lower ones keep their spread. A softmax that has
# chosen passes hardly any gradient on: the derivative of $a_i$ by its own score is $a_i (1 - a_i)$, which is 0 at both
# ends.

# %%
print("         as they are            divided by the root")
print("width   largest     slope       largest     slope")
for width in (4, 16, 64, 256, 512):
    pairs = [transformer_plots.scaling_weights(width, seed=seed)[1:] for seed in range(200)]
    largest = np.array([[weights.max() for weights in pair] for pair in pairs])
    (a, b), (slope_a, slope_b) = largest.mean(0), (largest * (1 - largest)).mean(0)
    print(f"{width:5} {a:9.2f} {slope_a:9.3f} {b:13.2f} {slope_b:9.3f}")

# %% [markdown]
# ## Many heads
#
# One softmax gives one weighted mean: it can follow one thing at a time. So cut the width $D$ of all queries, keys and
# values into $H$ *heads* of width $d = D / H$, let each look on its own, and put the results side by side again:
#
# $$\text{head}_h = \mathrm{softmax}\!\left(\frac{Q_h K_h^\top}{\sqrt{D / H}}\right) V_h, \qquad
# \text{output} = [\text{head}_1, \dots, \text{head}_H]\, W_o.$$
#
# Four matrices learn what to do with it: $W_q$, $W_k$, $W_v$ make queries, keys and values, $W_o$ mixes the heads.
# Cutting is a reshape **and** a swap of axes.


# %%
def my_split(x, num_heads):  # [B, T, D] -> [B, H, T, D/H]
    rows, steps, width = x.shape
    return x.reshape(rows, steps, num_heads, width // num_heads).swapaxes(1, 2)


def my_join(x):  # [B, H, T, D/H] -> [B, T, D]
    rows, heads, steps, width = x.shape
    return x.swapaxes(1, 2).reshape(rows, steps, heads * width)


x = np.arange(2 * 5 * 6).reshape(2, 5, 6)
check.close(my_join(my_split(x, 3)), x, name="cut and joined")
wrong = my_split(x, 3).reshape(2, 5, 6)
print("without the swap: shape", wrong.shape, "and step 0 holds", wrong[0, 0], "instead of", x[0, 0])

# %% [markdown]
# The course grew out of five texts on AIGC, called *the documents* here. One of them lists a model class by class and
# calls it GPT-2; we shall meet that *listing* often. It cuts the heads and never swaps back or joins. The tempting
# repair is the last line above: the right shape, and numbers from *other steps* in each row. No test of shapes finds
# it. Comparison with another implementation does:


# %%
def my_multi_head(queries, memory, weights, num_heads, mask=None):  # [B, T, D], [B, S, D] -> [B, T, D]
    wq, bq, wk, bk, wv, bv, wo, bo = weights
    parts = queries @ wq + bq, memory @ wk + bk, memory @ wv + bv
    found, _ = my_attention(*(my_split(part, num_heads) for part in parts), mask)
    return my_join(found) @ wo + bo


layer, theirs = transformer.MultiHeadAttention(3, 6), keras.layers.MultiHeadAttention(num_heads=3, key_dim=2)
layer.build((2, 5, 6))
theirs.build((2, 5, 6), (2, 7, 6), (2, 7, 6))
weights = [rng.normal(size=weight.shape).astype("float32") for weight in layer.get_weights()]
layer.set_weights(weights)
theirs.set_weights([w.reshape(v.shape) for w, v in zip(weights, theirs.get_weights(), strict=True)])
found = my_multi_head(queries, keys, weights, 3, mask[:, None])
check.close(found, layer(queries, keys, attention_mask=mask[:, None]), name="the course's")
check.close(found, theirs(queries, keys, attention_mask=np.repeat(mask, 5, axis=1)), name="Keras' layer")

# %% [markdown]
# How many weights does this take? Four matrices of $D \times D$ and four biases, whatever the number of heads. Heads
# are a way to cut, not a way to grow.

# %%
for num_heads in (1, 2, 4, 8):
    layer = transformer.MultiHeadAttention(num_heads, 64)
    layer.build((None, None, 64))
    print(f"{num_heads} heads of width {64 // num_heads:2}: {layer.count_params():,} weights")
check.close(layer.count_params(), 4 * 64 * 64 + 4 * 64, name="4 D² + 4 D")

# %% [markdown]
# ## Masks, and how to prove that one works
#
# Two things must not be looked at. *Padding*, which is no text. And, in a network that learns to predict the next
# token, *the future*: in training all steps are computed at once, and the answer of step $t$ stands in the input at
# step $t + 1$. The *causal* mask allows $s \le t$.

# %%
widgets.explore(
    transformer_plots.mask_map,
    alt="A square of cells, filled where the step of the row may look at the step of the column",
    kind=widgets.choice(["none", "padding", "causal", "both"], "both", "mask"),
    length=widgets.slider(6, 14, 1, 10, "steps"),
    padding=widgets.slider(0, 5, 1, 3, "of them padding"),
)

# %% [markdown]
# The causal mask cuts off a triangle, the padding mask whole columns. Rows of padding remain; what they compute is
# never used. **Question:** how many pairs does the causal mask allow for $T$ steps?
#
# A mask that is off by one looks right in a picture. The proof is an experiment: change one step, and see which outputs
# move.


# %%
def my_causal_mask(length):  # -> [T, T]
    steps = np.arange(length)
    return steps[:, None] >= steps


def moved(function, x, at):  # largest change of each step's output when step `at` is another one
    changed = x.copy()
    changed[:, at] = np.random.default_rng(1).normal(size=changed[:, at].shape)
    before, after = (ops.convert_to_numpy(function(values)) for values in (x, changed))
    return np.abs(after - before).max(axis=(0, 2))


check.close(my_causal_mask(7), transformer.causal_mask(7))
block, x = transformer.TransformerBlock(3, 6), rng.normal(size=(2, 8, 6)).astype("float32")
masks = {"causal": my_causal_mask(8), "off by one": my_causal_mask(9)[1:, :8], "none": None}
for name, allowed in masks.items():
    change = moved(lambda values, allowed=allowed: block(values, attention_mask=allowed), x, at=5)
    print(f"{name:11}", " ".join(f"{value:.2f}" for value in change), "leak" if change[:5].any() else "no leak")

# %% [markdown]
# Step 5 was changed (the sixth number), and moves most itself, since its own input is handed on. With the causal mask
# nothing before it moves, to the last bit. With the mask that is off by one, step 4 already knows. Such a model gets a
# wonderful loss in training, since the answer stands before its eyes, and writes nonsense, because when it writes there
# is no future to copy from.
#
# Now the same on the trained model, for every step of the target, and eight zeros of padding behind the source:

# %%
(source_ids, decoder_ids), _ = reader.arrays(["4 March 2021"], ["2021-03-04"])
logits = ops.convert_to_numpy(reader((source_ids, decoder_ids)))
for at in range(1, decoder_ids.shape[1]):
    changed = decoder_ids.copy()
    changed[:, at] = decoder_ids[:, at] % 10 + 5  # another character: ids 5 to 14, and never the same one
    after = ops.convert_to_numpy(reader((source_ids, changed)))
    assert np.array_equal(after[:, :at], logits[:, :at]), f"step {at} is seen too early"
    assert not np.allclose(after[:, at], logits[:, at]), f"step {at} is not seen at all"
print("each step of the target: nothing before it moves, its own logits do")
padded = reader((np.pad(source_ids, ((0, 0), (0, 8))), decoder_ids))
check.close(logits, padded, tolerance=1e-4, name="eight zeros more")

# %% [markdown]
# ## Positions
#
# Attention is a weighted mean, and a mean does not ask for the order. Without positions an encoder reads a *bag* of
# tokens. Here is one with random weights and its twin with positions; both read a date and the same letters in another
# order.

# %%
(one, given), _ = reader.arrays(["4 March 2021"], ["2021"])
other, _ = reader.arrays(["1 March 2024"], ["2021"])
sides = reader.source_vocabulary, reader.target_vocabulary
for positions in (True, False):
    small = transformer.Transformer(*sides, num_layers=1, num_heads=2, hidden_dim=16, positions=positions)
    change = ops.max(ops.abs(small((one, given)) - small((other[0], given))))
    print(f"positions {positions!s:5} largest change of a logit: {float(change):.6f}")

# %% [markdown]
# For the bag the 4th of March 2021 and the 1st of March 2024 are one text (up to rounding), whatever its weights. How
# many dates could it get right at best? Count the bags: of all days with one bag, only one answer can be right.

# %%
days = [dates.FIRST + timedelta(number) for number in range((dates.LAST - dates.FIRST).days + 1)]
written = {
    "4 March 2021": lambda day: f"{day.day} {month_name[day.month]} {day.year}",
    "2021年3月4日": lambda day: f"{day.year}年{day.month}月{day.day}日",
}
best = {}
for name, write in written.items():
    best[name] = len({"".join(sorted(write(day))) for day in days}) / len(days)
    print(f"{name:14} {len(days):,} days; a bag of letters is right for at most {best[name]:.1%}")
check.between("transformer/bag_english", best["4 March 2021"])
check.between("transformer/bag_chinese", best["2021年3月4日"])

# %% [markdown]
# The causal mask of the last section changes this: a decoder of several blocks that may not look ahead can learn
# from its mask where a token stands, and gets along without positions surprisingly well (Haviv et al., 2022).
#
# (The model in the documents does not even have a bag. Its `call` adds positions to embeddings and applies a last
# matrix; no attention layer is ever called. Even with its embedding repaired, see below, each position would see itself
# and nothing else.)
#
# So the place must be put into the vector. The paper *adds* a row of a fixed table. Column $2i$ of row $t$ holds
# $\sin(\omega_i t)$, column $2i + 1$ holds $\cos(\omega_i t)$, with $\omega_i = 10000^{-2i/D}$: hands of clocks, the
# first ones fast, the last ones slow. **By hand**, width 4, position 1: $\omega = 1$ and $0.01$, so the row is
# $(0.841, 0.540, 0.010, 1.000)$.


# %%
def my_positions(length, width):  # -> [T, D]
    angles = np.arange(length)[:, None] / 10000 ** (np.arange(0, width, 2) / width)
    table = np.zeros((length, width))
    table[:, 0::2], table[:, 1::2] = np.sin(angles), np.cos(angles)
    return table


print(my_positions(2, 4)[1].round(3))
check.close(my_positions(49, 96), transformer.sinusoidal_table(49, 96))
plots.show(transformer_plots.table_picture())

# %% [markdown]
# On the left the clocks change sign every few rows, on the right they hardly move: together they count, as digits do.
# The dot product of two rows is $\sum_i \cos(\omega_i (t - s))$, by the rule for the cosine of a difference. It depends
# on the *distance* alone.
#
# GPT-2 (Radford et al., 2019) *learns* its table instead, one row for each position up to the longest text: an
# embedding of the place, trained like that of the token. It can become anything, but it has to discover that
# neighbours are alike, and behind the longest text there are no rows. Both tables, the learned one before any training:

# %%
table, learned = my_positions(60, 32), keras.layers.Embedding(60, 32, embeddings_initializer="random_normal")
learned.build(None)
check.close(np.diag(table @ table.T, 5), np.full(55, table[0] @ table[5]), name="all pairs at distance 5")
for name, rows in {"sines": table, "learned": ops.convert_to_numpy(learned.embeddings)}.items():
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    shown = ", ".join(f"{unit[20] @ unit[20 + gap]:.2f} at distance {gap}" for gap in (1, 2, 3, 30))
    print(f"{name:8} similarity {shown}")
widgets.explore(
    transformer_plots.positions_view,
    alt="Two rows of the table as coloured strips, and a bar for the similarity of the first with every position",
    first=widgets.slider(0, 59, 1, 20, "first position"),
    second=widgets.slider(0, 59, 1, 23, "second position"),
)

# %% [markdown]
# Move the first position: the hill moves along and keeps its shape. Neighbours are alike; farther off the similarity
# falls in waves. What the untrained learned table shows is chance.
#
# In both cases the row is added once. The documents' listing adds it and then *concatenates* it as well, which makes
# the stream wider, and divides the table by $\sqrt D$. In the paper it is the token's embedding that is multiplied by
# $\sqrt D$; a reason is not given there. (Embeddings start small beside the sines, here with entries of about 0.03.)
#
# An embedding itself is a table from which rows are picked. The listing multiplies ids by the table, which fails unless
# the text is as long as the vocabulary, and then gives one sum of all rows, weighted by the ids. A test with one-hot
# rows would not see it:

# %%
table, ids = rng.normal(size=(5, 3)), np.array([4, 0, 2, 2, 1])
lookup = keras.layers.Embedding(5, 3)
lookup.build(None)
lookup.set_weights([table])
check.close(table[ids], lookup(ids), name="rows picked")
print("ids times table: shape", (ids @ table).shape, "instead of", table[ids].shape)
print("one-hot rows times table are the rows picked:", np.allclose(np.eye(5)[ids] @ table, table[ids]))

# %% [markdown]
# ## Layer normalisation
#
# From block to block of a deep network numbers grow or shrink. Layer normalisation (Ba et al., 2016) sets each token's
# vector to mean 0 and variance 1, and then lets the network choose: a *gain* $g$ and a *bias* $b$ for each column,
#
# $$y = g \odot \frac{x - \text{mean}(x)}{\sqrt{\text{var}(x) + \varepsilon}} + b.$$
#
# **By hand**, $x = (1, -1, 2, -2)$: mean 0, variance 2.5, root 1.581, so $y = (0.632, -0.632, 1.265, -1.265)$.


# %%
def my_norm(x, gain, bias, epsilon=1e-5):  # [..., D], [D], [D] -> [..., D]
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return gain * (x - mean) / np.sqrt(variance + epsilon) + bias


x = rng.normal(size=(2, 5, 6)).astype("float32")
theirs = keras.layers.LayerNormalization(epsilon=1e-5)
theirs.build(x.shape)
theirs.set_weights(rng.normal(size=(2, 6)))
check.close(my_norm(x, *(ops.convert_to_numpy(weight) for weight in theirs.get_weights())), theirs(x))
row = np.array([1.0, -1, 2, -2])
for size in (1.0, 1e-4):
    listing = size * row / ((size * row).std() + 1e-6)
    print(f"size {size:g}: right {my_norm(size * row, 1, 0, 1e-6)[0]:.3f}, as in the listing {listing[0]:.3f}")

# %% [markdown]
# The documents' listing has neither gain nor bias and adds $\varepsilon$ to the standard deviation. On rows of ordinary
# size nobody notices, on small ones the result differs sixfold: $\varepsilon$ in the root lets tiny rows stay small,
# instead of blowing up their noise.
#
# ## Dropout
#
# In training, set a random share of the numbers to 0 so that no part relies on a single other part (Srivastava et al.,
# 2014); and divide the rest by the share that is kept, so that the mean stays. When the model is used, nothing happens.


# %%
def my_dropout(x, rate, kept):  # values, share that is dropped, booleans of the same shape
    return np.where(kept, x / (1 - rate), 0)


layer, x = keras.layers.Dropout(0.1, seed=0), rng.normal(size=(1000, 50)).astype("float32")
dropped = ops.convert_to_numpy(layer(x, training=True))
check.close(my_dropout(x, 0.1, kept=dropped != 0), dropped, name="Keras' layer")
check.close(layer(x, training=False), x, name="without training")
kept = rng.random(x.shape) < 0.9
print(f"mean of ones: {my_dropout(np.ones_like(x), 0.1, kept).mean():.2f}, without rescaling {kept.mean():.2f}")

# %% [markdown]
# The documents' listing forgets the division, and its model stores the training flag without using it.
#
# ## The feed-forward part
#
# Attention moves information between places. What is done *at* a place is done by a small network, the same for all:
# widen to $4D$, bend, narrow. The bend is GELU (Hendrycks and Gimpel, 2016), $x\,\Phi(x)$: $x$ times the probability
# that a standard normal number lies below it. GPT-2 uses a formula with tanh in its place; the paper of 2017 had ReLU,
# $\max(0, x)$.


# %%
def my_gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


line = np.linspace(-4, 4, 161)
exact = ops.convert_to_numpy(keras.activations.gelu(line, approximate=False))
check.close(my_gelu(line), keras.activations.gelu(line, approximate=True))
print(f"largest distance of the tanh formula from the exact one: {np.abs(my_gelu(line) - exact).max():.5f}")
first, second, x = (rng.normal(size=size) for size in ((4, 16), (16, 16), (200, 4)))
for name, bend in {"no bend": lambda values: values, "GELU": my_gelu}.items():
    print(f"{name:8} rank of 200 outputs of width 16: {np.linalg.matrix_rank(bend(x @ first) @ second)}")
curves = {"GELU": my_gelu(line), "ReLU": np.maximum(line, 0), "no bend": line}
plots.show_curves(curves, x=line, xlabel="x", ylabel="y", size=(5.5, 3.2))

# %% [markdown]
# GELU follows ReLU far from 0 and is smooth near it, with a small dip below. The documents' version has no bend at all.
# Then the widening is for nothing, since two matrices in a row are one. To make that visible the second matrix above
# keeps the width 16, as in the listing: without a bend 200 outputs span 4 dimensions, with GELU all 16.

# %% [markdown]
# ## A block
#
# Two steps, each with a *residual* connection (He et al., 2016): the part computes a change, and the change is added.
#
# $$x \leftarrow x + \text{attention}(\text{norm}(x)), \qquad x \leftarrow x + \text{feed-forward}(\text{norm}(x)).$$
#
# The vectors $x$ that run through all blocks are the *residual stream*. This is *pre-norm*, as in GPT-2. The paper of
# 2017 normalises behind the sum, $\text{norm}(x + f(x))$: *post-norm*. In pre-norm the stream itself is never
# normalised, so one last norm stands behind the last block of encoder and decoder each; behind the decoder's, one
# matrix with a bias makes the logits.


# %%
def my_block(x, weights, num_heads, mask=None):  # [B, T, D] -> [B, T, D]
    first, attention, second, feed_forward = weights[:2], weights[2:10], weights[10:12], weights[12:]
    normed = my_norm(x, *first)
    x = x + my_multi_head(normed, normed, attention, num_heads, mask)
    wide, wide_bias, narrow, narrow_bias = feed_forward
    return x + my_gelu(my_norm(x, *second) @ wide + wide_bias) @ narrow + narrow_bias


x = rng.normal(size=(2, 5, 6)).astype("float32")
block = transformer.TransformerBlock(3, 6)
block.build(x.shape)
weights = [rng.normal(size=weight.shape).astype("float32") / 2 for weight in block.get_weights()]
block.set_weights(weights)
check.close(my_block(x, weights, 3, my_causal_mask(5)), block(x, attention_mask=my_causal_mask(5)))

# %% [markdown]
# And the block put together from the framework's layers, with the same weights. Then all weights are set to 0: a block
# of zeros hands on what it got, for it can only add. A concatenation, as in the documents' listing, hands on something
# twice as wide, and a second block would not even fit on the first.


# %%
def gelu(values):
    return keras.activations.gelu(values, approximate=True)


layers = keras.layers
norms = [layers.LayerNormalization(epsilon=1e-5) for _ in range(2)]
look = layers.MultiHeadAttention(num_heads=3, key_dim=2)
wide, narrow = layers.Dense(24, activation=gelu), layers.Dense(6)
stream = keras.Input((5, 6))
normed = norms[0](stream)
y = stream + look(normed, normed, use_causal_mask=True)
theirs = keras.Model(stream, y + narrow(wide(norms[1](y))))
for layer, part in zip((norms[0], look, norms[1], wide, narrow), (2, 8, 2, 2, 2), strict=True):
    mine, weights = weights[:part], weights[part:]
    layer.set_weights([w.reshape(v.shape) for w, v in zip(mine, layer.get_weights(), strict=True)])
check.close(block(x, attention_mask=my_causal_mask(5)), theirs(x), name="Keras' layers")
block.set_weights([np.zeros_like(weight) for weight in block.get_weights()])
check.close(block(x), x, name="a block of zeros")

# %% [markdown]
# ## The gradient that reaches block 1 of 12
#
# Why both, sum and norm? Take twelve blocks, wire them in five ways, and measure how large the gradient is behind each
# block: how strongly the outcome depends on what stands there. (A nudge is added behind each block, and the outcome is
# differentiated by the nudges.)

# %%
WIRINGS = {
    "pre-norm": lambda x, part, norm: x + part(norm(x)),
    "post-norm": lambda x, part, norm: norm(x + part(x)),
    "norms, no sums": lambda x, part, norm: part(norm(x)),
    "sums, no norms": lambda x, part, norm: x + part(x),
    "neither": lambda x, part, norm: part(x),
}


def through(blocks, wiring, x, nudges):
    for number, block in enumerate(blocks):
        x = WIRINGS[wiring](x, block.attention, block.attention_norm)
        x = WIRINGS[wiring](x, block.feed_forward, block.feed_forward_norm) + nudges[number]
    return x


def gradient_lengths(blocks, wiring, x, direction):  # -> one length for each block
    none = ops.zeros((len(blocks), *x.shape))

    def outcome(nudges):
        return through(blocks, wiring, x, nudges) * direction

    gradient = ops.convert_to_numpy(compiled.input_gradient(outcome, none))
    return np.sqrt((gradient**2).sum(axis=(1, 2, 3)))


# %%
keras.utils.set_random_seed(0)
blocks = [transformer.TransformerBlock(4, 32) for _ in range(12)]
draws = np.random.default_rng(0)
x, direction = (ops.convert_to_tensor(draws.normal(size=(4, 10, 32)).astype("float32")) for _ in range(2))
for block in blocks:
    block.build(tuple(x.shape))
lengths = {wiring: gradient_lengths(blocks, wiring, x, direction) for wiring in WIRINGS}
ratios = {wiring: values[0] / values[-1] for wiring, values in lengths.items()}
for wiring, ratio in ratios.items():
    print(f"{wiring:16} behind block 1, compared with block 12: {ratio:.2g}")
relative = {wiring: values / values[-1] for wiring, values in lengths.items()}
plots.show_curves(relative, x=np.arange(1, 13), xlabel="block", ylabel="gradient, block 12 = 1", log=True)
check.between("transformer/gradient_pre_norm", ratios["pre-norm"])
check.between("transformer/gradient_post_norm", ratios["post-norm"])
check.between("transformer/gradient_norms_only", ratios["norms, no sums"])
check.between("transformer/gradient_sums_log10", np.log10(ratios["sums, no norms"]))
check.between("transformer/gradient_neither_log10", np.log10(ratios["neither"]))

# %% [markdown]
# The scale is logarithmic. With neither, the gradient shrinks at every block and hardly reaches the first; with sums
# alone it grows. With norms it survives, *even without the residual connection*. So the common sentence "without
# residuals the gradient vanishes" is only half of it, and the size of a gradient is no proof that they are there. But
# look at the ten tokens of a text. How alike are they after some blocks?


# %%
def likeness(x):  # [B, T, D] -> mean cosine of two different tokens of a text
    unit = x / np.linalg.norm(x, axis=-1, keepdims=True)
    steps = x.shape[1]
    return float((np.einsum("btd,bsd->", unit, unit) / len(x) - steps) / (steps * (steps - 1)))


print(f"{'':16} after block 3   after block 12")
alike = {}
for wiring in ("pre-norm", "post-norm", "norms, no sums"):
    ends = [through(blocks[:count], wiring, x, np.zeros(12, "float32")) for count in (3, 12)]
    alike[wiring] = [likeness(ops.convert_to_numpy(end)) for end in ends]
    print(f"{wiring:16} {alike[wiring][0]:13.4f} {alike[wiring][1]:16.4f}")
check.between("transformer/alike_no_sums", alike["norms, no sums"][0])
check.between("transformer/alike_pre_norm", alike["pre-norm"][0])

# %% [markdown]
# Without sums all ten tokens have become one vector after three blocks: attention takes means, the feed-forward part
# does the same at every place, and nothing brings back what stood there. The residual connection does: after three
# blocks the tokens still differ. It only slows this down, though. In these fresh stacks the tokens of post-norm are
# nearly one after twelve blocks, those of pre-norm are on the way. (Dong et al., 2021, prove that in attention alone
# the tokens become one doubly exponentially fast with depth, and that sums and feed-forward parts work against it; the
# feed-forward parts above, with their first weights, are not enough.)
#
# Pre-norm or post-norm? Xiong et al. (2020) derive that in a fresh post-norm model the gradients near the *output* are
# large, so that a high learning rate is unsafe until they have settled. Hence the *warm-up*: the rate starts near 0 and
# rises. With pre-norm it can be shorter or be left out. (The figure cannot show this. It has gradients of the stream,
# which behind block 12 are the same for every wiring; the statement is about the gradients of the *weights* there.)
#
# ## Encoder, decoder, cross-attention
#
# The whole model (Vaswani et al., 2017, figure 1, there with post-norm and ReLU) is two stacks of blocks:

# %%
plots.show(transformer_plots.model_sketch())

# %% [markdown]
# Read it from below. Black is the way through the parts, blue the residual path around them: from the embedding to the
# last norm a token's vector is only ever added to. The two stacks touch in one place, the cross-attention of each
# decoder block. So there are three kinds of attention:
#
# | attention | queries from | keys and values from | mask |
# |---|---|---|---|
# | self-attention of the encoder | source | source | padding |
# | self-attention of the decoder | target so far | target so far | causal |
# | cross-attention | target so far | the encoder's output | padding |
#
# A block of the decoder has the last two, then its feed-forward part. It needs no padding mask for itself: padding
# stands at the end, and for every real step that is future already. The sizes in the paper: 6 blocks, $D = 512$,
# 8 heads, 2,048 in the feed-forward part; here 2, 96, 4 and 384. Most language models of today keep one of the two
# stacks, the decoder without its cross-attention, and exchange parts (other positions, other norms, gates in the
# feed-forward part).
#
# The listing's decoder layer takes a target and never touches it; nothing moves when it is changed. In ours, source and
# target can be watched at work:

# %%
(source_ids, given), _ = reader.arrays(["4 March 2021", "May 4, 1999"], ["2021-03-04", "1999-05-04"])
memory, _ = reader.read(source_ids)
logits, own, cross = reader.decode(given, memory, reader.padding_mask(source_ids))
check.shape(memory, (2, source_ids.shape[1], reader.hidden_dim), name="the encoder's output [B, S, D]")
check.shape(logits, (2, given.shape[1], len(reader.target_vocabulary)), name="logits [B, T, V]")
check.shape(cross[0], (2, reader.num_heads, given.shape[1], source_ids.shape[1]), name="weights [B, H, T, S]")
swapped, _, _ = reader.decode(given, ops.flip(memory, 0), ops.flip(reader.padding_mask(source_ids), 0))
print(f"another source, same target: logits move by up to {float(ops.max(ops.abs(swapped - logits))):.1f}")
other, _, _ = reader.decode(ops.flip(given, 0), memory, reader.padding_mask(source_ids))
print(f"same source, another target: logits move by up to {float(ops.max(ops.abs(other - logits))):.1f}")

# %% [markdown]
# `Transformer` has the interface of `Seq2Seq`: `fit`, `translate`, and one `step` of writing, which keeps keys and
# values of what is written instead of a recurrent state (chapter 10 derives this cache). So chapter 06's loss, beam
# search and scores work unchanged.
#
# ## Beside the LSTM
#
# Now train both from scratch: the same dates, batches and passes, each with the optimiser of its recipe. The upper
# picture will be the LSTM's.

# %%
steps = sizes.date_epochs * -(-len(data.train) // 128)
contest = {
    "LSTM with attention": (recipes.build_dates(), recipes.dates_optimizer(steps)),
    "Transformer": (recipes.build_dates_transformer(), recipes.transformer_optimizer(steps)),
}
live, seconds = {}, {}
for name, (model, optimizer) in contest.items():
    model.compile(optimizer)
    start = time.perf_counter()
    inputs = model.arrays(data.train.sources, data.train.targets)
    training.fit(model, inputs, epochs=sizes.date_epochs, batch_size=128)
    live[name], seconds[name] = model, time.perf_counter() - start

# %%
print(f"{'':20} weights   seconds   characters right   dates right")
accuracy = {}
for name, model in live.items():
    held = model.arrays(data.test.sources, data.test.targets)
    accuracy[name] = model.evaluate(*held, verbose=0, return_dict=True)["accuracy"]
    exact = model.exact_match(data.test.sources, data.test.targets)
    print(f"{name:20} {model.count_params():7,} {seconds[name]:9.0f} {accuracy[name]:14.1%} {exact:16.1%}")
check.between("transformer/live_lstm", accuracy["LSTM with attention"])
check.between("transformer/live_transformer", accuracy["Transformer"])

# %% [markdown]
# (Every ISO date has ten characters, so nothing is padded and the two accuracies in the pictures are one line.) The
# table is on held-out days. *Characters right* are counted with the true past given,
# *dates right* when the model writes alone: if each of eleven tokens is right with probability 0.98, independently of
# the others, all are right in $0.98^{11} = 80$ %. In three trainings each with the sizes of the class profile (seeds 0
# to 2) the LSTM got 94 to 97 % of the dates right and the Transformer 84 to 89 %, with 2.4 times the weights and about
# three times the time: it is not finished yet. After eight passes over 60,000 pairs, eight times as many steps, both
# are; see the table below.
#
# What attention buys is elsewhere (table 1 of the paper): an LSTM needs $S$ steps one *after* the other, a layer of
# attention one, so a GPU *reads* a whole text at once, and trains on it; and any two places are one step apart. When it
# writes, it too goes token by token. The price is $S^2$ scores: $2S^2D$ products beside the $12SD^2$ of a block's
# matrices, so they outweigh those only where a text is more than six times as long as the model is wide.
#
# Trained longer, as their cards record it:

# %%
print(f"{'':20} weights   minutes   passes   English right   Chinese right")
for name in ("dates-iso", "dates-transformer"):
    card = checkpoints.card(name)
    shares = [card["metrics"][f"exact_match_{language}"] for language in dates.LANGUAGES]
    numbers = f"{card['parameters']:7,} {card['minutes']:9} {card['epochs']:8}"
    print(f"{name:20} {numbers} {shares[0]:14.2%} {shares[1]:15.2%}")
exact = {}
for language in dates.LANGUAGES:
    part = dates.load_dates("iso", (language,), 1, 0, sizes.num_test).test
    exact[language] = reader.exact_match(part.sources, part.targets)
check.between("transformer/dates_en_exact", exact["en"])
check.between("transformer/dates_zh_exact", exact["zh"])

# %% [markdown]
# ## What do the heads do?
#
# A map shows where a head looks, not whether it matters. Jain and Wallace (2019) found quite different weights that
# lead to the same answer. Wiegreffe and Pinter (2019) replied that this alone does not make a map worthless: it depends
# on what one calls an explanation, and has to be tested. So test: silence one head, by setting the rows of $W_o$ that
# read it to 0, and count the dates that are still right.


# %%
def layer_of(model, kind, block):
    owner = (model.encoder_blocks if kind == "encoder" else model.decoder_blocks)[block]
    return owner.cross_attention if kind == "cross" else owner.attention


def right_without(model, kind, block, heads, part):
    """Share of dates that are right while some heads of a block are silent."""
    kernel = layer_of(model, kind, block).output_projection.kernel
    before = ops.convert_to_numpy(kernel)
    silent = before.copy().reshape(model.num_heads, -1, model.hidden_dim)
    silent[heads] = 0
    try:
        kernel.assign(silent.reshape(before.shape))
        return model.exact_match(part.sources, part.targets)
    finally:
        kernel.assign(before)


# %%
few, one, whole = dates.load_dates("iso", num_train=1, num_test=sizes.num_silenced).test, {}, {}
every = list(range(reader.num_heads))
for kind in ("encoder", "decoder", "cross"):
    for block in range(reader.num_layers):
        for head in every:
            one[f"{kind} {block + 1}.{head + 1}"] = right_without(reader, kind, block, [head], few)
        whole[f"{kind} {block + 1}, all heads"] = right_without(reader, kind, block, every, few)
unharmed, shares = reader.exact_match(few.sources, few.targets), {**one, **whole}
title = f"Dates right without one head (block.head), or without all of a block; all there {unharmed:.1%}"
plots.show(seq2seq_plots.weights_bars(list(shares), list(shares.values()), title))
check.between("transformer/worst_head", min(one.values()))
check.between("transformer/worst_layer", min(whole.values()))

# %% [markdown]
# Each bar is the model with something missing. Nearly every date survives the loss of any *single* head, whatever its
# map looks like: none of them is needed alone. The last bars are without all heads of a block. Of 200 dates 97 % and
# 88 % stay right without the cross-attention of the first or of the second block (none without both), 58.5 % without
# the self-attention of the encoder's first block, 10 % without the decoder's look at its own text in block 1, and all
# without that in block 2. A striking map is no proof of importance. (Nor is this the last word: a model trained without
# the part might do well.)
#
# In large models for translation, too, most single heads are dispensable: Michel et al. (2019) took away a large share
# of them after training and lost little. Self-attention could spare most heads there and cross-attention fewest. (They
# took from all blocks at once, so our bars, one block each, do not say otherwise.) Voita et al. (2019) closed 38 of the
# 48 heads of an encoder by trained gates and lost 0.15 BLEU.
#
# ## What the documents got wrong
#
# Nearly every class of the listing has a fault, and together they never run. What was wrong, and what is right:

# %%
corrections.table("09")

# %% [markdown]
# Some of the obvious tests pass on the faulty form: one-hot rows (C7), rows of ordinary size (C16), and this one:

# %%
corrections.show("C12")

# %% [markdown]
# ## Exercises
#
# **1. A window.** A causal mask for long texts: each step sees itself and the `reach` steps before it.


# %% tags=["exercise"]
def window_mask(length, reach):  # -> [T, T] booleans
    return ...


# %% tags=["solution"]
def window_mask(length, reach):  # -> [T, T] booleans
    distance = np.arange(length)[:, None] - np.arange(length)
    return (distance >= 0) & (distance <= reach)


# %%
def test_window(answer):
    check.close(answer(6, 6), my_causal_mask(6), name="a long reach is the causal mask")
    check.close(answer(6, 0), np.eye(6, dtype=bool), name="reach 0 sees itself alone")
    block, x = transformer.TransformerBlock(2, 4), np.random.default_rng(0).normal(size=(1, 9, 4)).astype("float32")
    change = moved(lambda values: block(values, attention_mask=answer(9, 2)), x, at=4)
    assert np.array_equal(change > 0, [False] * 4 + [True] * 3 + [False] * 2), f"steps that moved: {change > 0}"


check.exercise("09.1 window", window_mask, test_window, hint="Ask for the distance of row and column.")

# %% [markdown]
# **2. A test that catches a leak.** `function` maps [B, T, D] to [B, T, E]. Is the future visible anywhere? Careful: a
# mask may leak at one step only.


# %% tags=["exercise"]
def leaks(function, x):  # function, [B, T, D] -> bool
    return ...


# %% tags=["solution"]
def leaks(function, x):  # function, [B, T, D] -> bool
    return any(moved(function, x, at)[:at].any() for at in range(1, x.shape[1]))


# %%
def test_leaks(answer):
    block, x = transformer.TransformerBlock(2, 4), np.random.default_rng(0).normal(size=(1, 6, 4)).astype("float32")
    cases = {"causal": (my_causal_mask(6), False), "no mask": (None, True)}
    for row, column in ((0, 1), (2, 4), (4, 5)):
        hole = my_causal_mask(6)
        hole[row, column] = True
        cases[f"a hole at {row}, {column}"] = hole, True
    for name, (allowed, expected) in cases.items():
        verdict = answer(lambda values, allowed=allowed: block(values, attention_mask=allowed), x)
        assert bool(verdict) == expected, f"{name}: the answer is {verdict}"


check.exercise(
    "09.2 a leak",
    leaks,
    test_leaks,
    hint="Change each step in turn with `moved`, and look before it. (A constant added would be undone by the norm.)",
)

# %% [markdown]
# **3. Turning the clocks.** Find the matrix that takes *every* row of the table of sines to the row `shift` places on:
# `table[t] @ M = table[t + shift]`. One matrix for all $t$: that is why the authors hoped that "three to the left" is
# easy to learn.


# %% tags=["exercise"]
def shift_matrix(shift, width):  # -> [D, D]
    return ...


# %% tags=["solution"]
def shift_matrix(shift, width):  # -> [D, D]
    matrix = np.zeros((width, width))
    for column in range(0, width, 2):
        angle = shift / 10000 ** (column / width)
        turn = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        matrix[column : column + 2, column : column + 2] = turn
    return matrix


# %%
def test_shift(answer):
    table = my_positions(40, 8)
    for shift in (0, 1, 7):
        check.close(table[: 40 - shift] @ np.asarray(answer(shift, 8)), table[shift:], name=f"{shift} places on")


check.exercise("09.3 clocks", shift_matrix, test_shift, hint="sin(a + b) and cos(a + b): turn each pair of columns.")

# %% [markdown]
# **4. Count the weights** of the whole pre-norm model from its sizes: two tables of embeddings, blocks with $4D$ in the
# feed-forward parts, a last norm behind encoder and decoder, an output matrix with bias. Sines have no weights.


# %% tags=["exercise"]
def count_weights(source_tokens, target_tokens, num_layers, width):
    return ...


# %% tags=["solution"]
def count_weights(source_tokens, target_tokens, num_layers, width):
    attention, norm, feed_forward = 4 * width**2 + 4 * width, 2 * width, 8 * width**2 + 5 * width
    encoder, decoder = attention + feed_forward + 2 * norm, 2 * attention + feed_forward + 3 * norm
    tables, output = (source_tokens + target_tokens) * width, (width + 1) * target_tokens
    return num_layers * (encoder + decoder) + 2 * norm + tables + output


# %%
def test_count(answer):
    for num_layers, width in ((1, 8), (3, 12)):
        source, target = Vocabulary("0123456789"), Vocabulary("abc")
        model = transformer.Transformer(source, target, num_layers=num_layers, num_heads=2, hidden_dim=width)
        check.close(answer(len(source), len(target), num_layers, width), model.count_params(), name=f"width {width}")


check.exercise("09.4 weights", count_weights, test_count, hint="A decoder block has two attentions, three norms.")

# %% [markdown]
# **5. Open end.** Change one thing in the live Transformer and train it again: `recipes.build_dates_transformer` with
# `positions=False` (none in encoder and decoder), `norm_first=False` (the norms behind the sums) or `num_heads=1`; or
# `recipes.transformer_optimizer(steps, warmup_steps=1)`. Predict the outcome before you look. Use two seeds: which
# differences are larger than the one between seeds? (For a seed call `keras.utils.set_random_seed(1)` before the model
# is built, and `training.fit(..., seed=1)`; the model's own argument `seed` rules only a part of the dropout.)
#
# ## Summary
#
# - Attention is a soft lookup, every value weighted by how well its key fits: $\mathrm{softmax}(QK^\top/\sqrt d)\,V$,
#   with $d$ the width of a head. The root keeps the softmax from choosing too early.
# - Heads cut the width and share it. Cut and join need a swap of axes; shapes do not show its absence.
# - A mask is proved by changing what must not be seen. For causality: change the future, nothing before may move.
# - Without positions an encoder reads a bag. (A causal decoder of several blocks can tell some order from its mask.)
#   Sines or a learned table are added, once.
# - Norms keep the gradient in bounds, sums keep the tokens apart for longer. A block needs both.
# - Compare an implementation with another one, number by number. It finds what a falling loss hides.
#
# ## Sources

# %%
models = ["vaswani2017", "radford2019"]
parts = ["ba2016", "xiong2020", "he2016", "hendrycks2016", "srivastava2014", "dong2021", "haviv2022"]
maps = ["jain2019", "wiegreffe2019", "michel2019", "voita2019"]
corrections.references([*models, *parts, *maps])

# %% [markdown]
# **Where to go next:** chapter 10 keeps the decoder alone, without cross-attention, and trains it to write poems.
