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
# # 10 · GPT-2: one token after another
#
# A language model says how probable the next token is. That is all it does, and it is enough to write: choose a token,
# append it, ask again. In this chapter you build GPT-2 from the blocks of chapter 09, train one on English, and play
# with one that has learned to write Tang poems. No Chinese is needed: every character comes with its sound and a
# meaning.
#
# You meet the tokeniser, the network and every way to choose a token in a few lines each, and learn what the cache
# keeps that makes writing fast.
#
# *About 90 minutes, one to two of them training.*

# %%
from aigc_course import runtime

print(runtime.setup(seed=0))
sizes = runtime.sizes("10_gpt2")

# %%
import os
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import keras
import numpy as np
from keras import ops

from aigc_course import (
    bpe,
    check,
    checkpoints,
    corrections,
    gpt2,
    gpt2_plots,
    plots,
    poet,
    recipes,
    sampling,
    training,
    widgets,
)
from aigc_course.datasets import load_poems, load_text, poems
from aigc_course.datasets.text import characters
from aigc_course.gpt2_plots import FORM_CHOICE
from aigc_course.metrics import poems as poem_scores
from aigc_course.metrics.ngram import NGram
from aigc_course.vocabulary import END, Vocabulary

# %%
writer = poet.Poet(checkpoints.load("gpt2-poems"))
widgets.explore(
    gpt2_plots.poem_panel(writer),
    alt="A poem, each character with its pinyin and its meaning, or with the probability that the model gave it",
    prompt=widgets.text("明月", "beginning", examples=("春风", "moon")),
    form=widgets.choice(FORM_CHOICE, "5x4", "form"),
    show=widgets.choice({"sound and meaning": "meaning", "how sure it was": "confidence"}, "meaning", "below"),
    temperature=widgets.slider(0.1, 2.0, 0.1, 0.8, "temperature"),
    top_k=widgets.slider(1, 4000, 1, 4000, "top-k"),
    top_p=widgets.slider(0.05, 0.999, 0.001, 0.999, "top-p"),
    seed=widgets.slider(0, 99, 1, 0, "seed"),
)

# %% [markdown]
# 明月 is *bright moon*; your two characters stand on blue, the model wrote the rest. Other beginnings: 春风 *spring
# wind*, 秋 *autumn*, 白云 *white clouds*, 故人 *old friend*, 江 *river*. Move the seed for another poem, the form for
# another shape. Turn the temperature up to 2 and watch the sense go first, then the shape. Under *how sure it was* the
# stops (，。) are nearly certain, the first characters of a line are not. **Question:** what does the seed change when
# top-k is 1?
#
# Poems of eight lines follow the slider less quickly: every character costs one run through the network.
#
# Or watch it write. The clock counts computing only (it pauses after each character, for the eye). Untick *cache*,
# and the same poem takes longer: the reason comes below.

# %%
gpt2_plots.StreamBox(writer, prompt="春风", form="7x4", seed=3)

# %% [markdown]
# ## The chain rule
#
# A text has the tokens $x_1, \dots, x_T$. Whatever the language, its probability is a product,
#
# $$p(x_1, \dots, x_T) = p(x_1)\, p(x_2 \mid x_1)\, p(x_3 \mid x_1, x_2) \cdots p(x_T \mid x_1, \dots, x_{T-1}).$$
#
# Each factor sees *all* earlier tokens. The documents say that a model predicts "from the step before". Take a
# language of three words and four sentences:
#
# | sentence | probability |
# |---|---|
# | sun rain sun | 0.4 |
# | sun rain wind | 0.1 |
# | wind rain wind | 0.4 |
# | wind rain sun | 0.1 |
#
# After *sun rain* comes *sun* with $0.4 / (0.4 + 0.1) = 0.8$; after *wind rain* with 0.2. A model that sees only the
# step before sees *rain* both times and can say nothing but 0.5. What does that cost?

# %%
language = {"sun rain sun": 0.4, "sun rain wind": 0.1, "wind rain wind": 0.4, "wind rain sun": 0.1}


def toy_chance(language, before, word, memory):
    """p(word | the last ``memory`` words of ``before``), by counting."""
    seen = {}
    for sentence, share in language.items():
        words = sentence.split()
        if words[max(len(before) - memory, 0) : len(before)] == before[max(len(before) - memory, 0) :]:
            seen[words[len(before)]] = seen.get(words[len(before)], 0) + share
    return seen[word] / sum(seen.values())


def toy_cost(language, memory):  # -> nats a sentence
    return -sum(
        share * np.log(toy_chance(language, words[:k], words[k], memory))
        for sentence, share in language.items()
        for words in [sentence.split()]
        for k in range(3)
    )


for memory in (1, 2):
    nats = toy_cost(language, memory)
    print(f"memory {memory}: {nats:.3f} nats a sentence, perplexity {np.exp(nats / 3):.3f} a word")
check.close(toy_cost(language, 2), -sum(p * np.log(p) for p in language.values()), name="full memory, entropy")

# %% [markdown]
# With full memory the cost is the entropy of the language: no model can do better. One word of memory costs 0.193 nats
# more, for ever, however long it trains.
#
# ## Perplexity
#
# The cost of a token is $-\log p$, in *nats*. The loss is the mean over tokens; *perplexity* is $e^{\text{loss}}$, the
# number of equally likely tokens among which a model would be as unsure. Text is its own target: no labels are needed.
#
# One document writes the loss as $y_t \log p$, with $y_t$ the token itself. But a token's number is a name. Number the
# words otherwise, and the formula changes, though nothing has happened. And its listing takes logits for probabilities:
# to add 7 to all logits changes no probability, and so must change no loss.

# %%
p = {"sun": 0.7, "rain": 0.2, "wind": 0.1}
for numbering in (("sun", "rain", "wind"), ("rain", "wind", "sun")):
    as_written = numbering.index("sun") * -np.log(p["sun"])
    print(f"{' '.join(numbering):16} as written {as_written:.3f}   cross-entropy {-np.log(p['sun']):.3f} nats")
for shift in (0, 7):
    raw = np.array([[0.9, 0.1, 0.1]], "float32") + shift
    losses = [
        float(keras.losses.sparse_categorical_crossentropy(np.array([0]), raw, from_logits=flag)[0])
        for flag in (False, True)
    ]
    print(f"logits plus {shift}: as written {losses[0]:.3f}, from_logits=True {losses[1]:.3f}")

# %% [markdown]
# Now real numbers. The data are 36,405 regular poems of the Tang dynasty (618 to 907): four or eight lines, all of five
# or all of seven characters. Two marks in front say which (⑤④: five characters, four lines), so form is something that
# one can ask for. Versions of one poem lie in one part, so that no test poem was trained on in another copy.

# %%
data = load_poems()
print(len(data.train), len(data.validation), len(data.test), Counter(data.train.forms))
print(writer.vocabulary, "such as", " ".join(writer.vocabulary.tokens[:16]))
famous = "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。"
print(poems.marked(famous), writer.encode([famous])[0][:9])
gpt2_plots.poems_list([famous], title="Wang Zhihuan, On Stork Tower")

# %% [markdown]
# "The white sun leans on the mountains and is gone, / the Yellow River flows into the sea. / You want to see a thousand
# miles? / Climb one more storey." Even lines rhyme (*liú*, *lóu*), and level and oblique tones alternate.
#
# How many nats does a character of a held-out poem cost? The yardsticks count runs of characters (*n-grams*, with
# Kneser-Ney smoothing, which lends probability to runs that were never seen; Chen and Goodman, 1999).

# %%
train_rows, test_rows = (writer.encode(part.texts, part.forms)[:, 1:] for part in (data.train, data.test))
counted = writer.is_character(test_rows)
nats = {"uniform guess": np.log(len(writer.vocabulary))}
for order in (1, 2, 3):
    ngram = NGram(order).fit(train_rows)
    nats[f"{order}-gram"] = -ngram.log_probabilities(test_rows)[counted].mean()
trigram = ngram
some = np.random.default_rng(0).permutation(len(data.test))[: sizes.test_poems]
nats["GPT-2"] = writer.nats([data.test.texts[k] for k in some], [data.test.forms[k] for k in some])
for name, value in nats.items():
    print(f"{name:14} {value:.2f} nats a character, perplexity {np.exp(value):7.0f}")
check.between("gpt2/poet_nats", nats["GPT-2"])
check.between("gpt2/poet_gain", nats["3-gram"] - nats["GPT-2"])

# %% [markdown]
# Marks and stops do not count here: they are nearly free, and would flatter everybody. A perplexity of about a
# hundred is no failure. Poems are meant to surprise.
#
# ## Tokens that are bytes
#
# Characters make a fine vocabulary for poems, not for the web. GPT-2 starts from the 256 *bytes*, so that there is no
# unknown word, and merges the most frequent pair of neighbours into a new token, again and again: *byte pair encoding*
# (Sennrich et al., 2016; on bytes, Radford et al., 2019). Three functions:


# %%
def my_count_pairs(words):  # {word as a tuple of symbols: count} -> how often each pair occurs
    pairs = Counter()
    for word, count in words.items():
        for pair in pairwise(word):
            pairs[pair] += count
    return pairs


def my_merge(word, pair):  # the pair becomes one symbol, from the left
    symbols, k = [], 0
    while k < len(word):
        size = 2 if word[k : k + 2] == pair else 1
        symbols.append("".join(word[k : k + size]))
        k += size
    return tuple(symbols)


def my_learn_merges(words, count):
    ids = {symbol: number for number, symbol in enumerate(sorted(bpe.bytes_to_characters().values()))}
    words, merges = {tuple(word): number for word, number in words.items()}, []
    for _ in range(count):
        pairs = my_count_pairs(words)
        best = min(pairs, key=lambda pair: (-pairs[pair], ids[pair[0]], ids[pair[1]]))  # of equals the older symbols
        merges.append(best)
        ids.setdefault("".join(best), len(ids))
        words = {my_merge(word, best): number for word, number in words.items()}
    return merges


# %%
python = load_text("python")
words = Counter(bpe.in_characters(word) for word in bpe.pretokenise(python.train))
mine = my_learn_merges(words, 30)
assert mine == bpe.learn_merges(words, 256 + 30), "the merges differ"
assert my_merge(tuple("aaab"), ("a", "a")) == bpe.merge(tuple("aaab"), ("a", "a"), "aa")
print(python, f"{len(words):,} different words")
print("first merges:", ", ".join("".join(pair) for pair in mine))
tokeniser = bpe.ByteLevelBPE.train([python.train, *data.train.texts[:2000]], 1200)
widgets.explore(
    gpt2_plots.tokens_panel(tokeniser),
    alt="The text cut into tokens, each on its own colour",
    text=widgets.text("The function returns 明月, a string.", "text", examples=("naïve 🙂", "def f(x): return x")),
    merges=widgets.slider(0, len(tokeniser.merges), 1, len(tokeniser.merges), "merges"),
)

# %% [markdown]
# The English text is the language reference that ships inside Python. Ġ stands for a space, Ċ for a line end: every
# byte has a printable stand-in. No merge crosses a word; a word takes the space in front of it along. `bpe` keeps its
# counts up to date instead of counting anew, so it is faster; its merges equal those of Hugging Face's library
# `tokenizers` (`tests/test_bpe.py` compares them). The tokeniser under the slider has learned from Python's text and
# from 2,000 poems. Take merges away.
#
# With no merges every byte is a token, and a Chinese character is three of them, shown in hexadecimal. Frequent words
# become one token early; a word that the training text lacked still comes out, in pieces. **Question:** after how many
# merges is 明 (*bright*) one token?
#
# A warning follows. Fewer tokens a text means more nats a token, so the *perplexity of two tokenisers cannot be
# compared*. Nats a character can.
#
# ## The network
#
# GPT-2 is the decoder of chapter 09 without anything to translate: no encoder, no cross-attention (the documents give
# it both). Token and position embeddings are added; each block does $x \leftarrow x + \text{attention}(\text{norm}(x))$
# and $x \leftarrow x + \text{feed-forward}(\text{norm}(x))$; a last norm; logits. Here is all of it, for one row of
# tokens. The weights are the poet's.


# %%
def numbers(x):
    return ops.convert_to_numpy(x)


def dense(x, layer):
    return x @ numbers(layer.kernel) + numbers(layer.bias)


def layer_norm(x, layer):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5) * numbers(layer.gamma) + numbers(layer.beta)


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def my_attention(x, layer):  # [T, D] -> [T, D]
    shape = (len(x), layer.num_heads, -1)
    q, k, v = (dense(x, part).reshape(shape).swapaxes(0, 1) for part in (layer.query, layer.key, layer.value))
    scores = q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1])  # [H, T, T]
    scores = np.where(np.tri(len(x), dtype=bool), scores, -1e9)  # no look ahead
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    found = weights / weights.sum(-1, keepdims=True) @ v
    return dense(found.swapaxes(0, 1).reshape(x.shape), layer.output_projection)


# %%
def my_gpt2(model, ids):  # [T] -> [T, V]
    table, places = (numbers(layer.embeddings) for layer in (model.token_embedding, model.position_embedding))
    x = table[ids] + places[: len(ids)]
    for block in model.blocks:
        x = x + my_attention(layer_norm(x, block.attention_norm), block.attention)
        wide = gelu(dense(layer_norm(x, block.feed_forward_norm), block.feed_forward.widen))
        x = x + dense(wide, block.feed_forward.narrow)
    return layer_norm(x, model.norm) @ table.T  # the table again: tied


row = writer.encode([famous])[0]
logits = numbers(writer.model(row[None]))[0]
check.close(my_gpt2(writer.model, row), logits, tolerance=1e-4, name="logits")

# %% [markdown]
# The last line uses the embedding table a second time, as the output layer (*tied*; Press and Wolf, 2017). A token is
# likely if its embedding points where the text points. The documents' listing learns a second table. Count what that
# costs: a block has $12 D^2 + 13 D$ weights, and a table $V D$.


# %%
def my_num_weights(vocabulary_size, context_length, num_layers, width, tied=True):
    blocks = num_layers * (12 * width**2 + 13 * width)
    return (1 if tied else 2) * vocabulary_size * width + context_length * width + blocks + 2 * width


config = writer.model.config
mine = my_num_weights(config.vocabulary_size, config.context_length, config.num_layers, config.hidden_dim)
check.close(mine, writer.model.count_params(), name=f"the poet's {mine:,} weights")
for name, tied in {"tied": True, "two tables": False}.items():
    print(f"GPT-2 small, {name:11} {my_num_weights(50257, 1024, 12, 768, tied):,}")

# %% [markdown]
# 124 million: the smallest GPT-2, to the last weight, and nobody had to build it. A second table would add 31 %.
#
# Two more details. Weights start normal with deviation 0.02, and those that write into the stream $x$ with
# $0.02 / \sqrt{2L}$: $2L$ independent additions make a variance $2L$ times as large, and the factor takes that back.
# And nothing may look ahead. Test it: change one character, and no earlier logit moves.

# %%
changed = row.copy()
changed[9] = row[9] + 1
moved = np.abs(numbers(writer.model(changed[None]))[0] - logits).max(-1)
print("change at 9; largest change of the logits at 0 to 12:", np.round(moved[:13], 2))
assert (moved[:9] < 1e-5).all() and (moved[9:] > 1e-3).all()
assert not any("cross" in weight.path for weight in writer.model.weights)

# %% [markdown]
# The test is worth having. A network without the mask has the lower loss, because it reads the answer, and writes
# rubbish.
#
# ## Training, live
#
# An English model of characters, small enough to train while you watch. Inputs and targets are the same text, shifted
# by one (the listing in the documents forgets to); the loss gets logits and is told so.

# %%
letters = Vocabulary(characters(python.train))
running = letters.encode([python.train])[0]
rng, context = np.random.default_rng(0), sizes.context
starts = rng.integers(0, len(running) - context, sizes.steps * sizes.batch_size)
windows = running[starts[:, None] + np.arange(context + 1)]  # [N, T + 1]
inputs, targets = gpt2.shifted(windows)
check.close(inputs[:, 1:], targets[:, :-1], name="shifted by one")
print(letters, windows.shape, repr(letters.decode(windows[:1])[0]))

# %%
keras.utils.set_random_seed(0)
small = gpt2.GPT2Config(len(letters), context, sizes.num_layers, 4, sizes.hidden_dim)
english = gpt2.GPT2(small)
first = english.blocks[0].feed_forward
print(
    f"{english.count_params():,} weights; deviations",
    [float(np.std(numbers(k.kernel))) for k in (first.widen, first.narrow)],
)
calm = gpt2_plots.always_cutting(0.8, 100, 0.999)
english.compile(recipes.transformer_optimizer(sizes.steps, peak=3e-3), jit_compile=False)
history = training.fit(
    english,
    (inputs, targets),
    epochs=1,
    batch_size=sizes.batch_size,
    samples=lambda: gpt2_plots.text_figure(gpt2_plots.go_on(english, letters, "The ", 200, calm), "temperature 0.8"),
)

# %% [markdown]
# On the left the loss in nats a character, on the right what the model writes after *The*, always with the same random
# numbers. First come spaces and frequent letters, then word lengths, then words. Is it better than counting?

# %%
held = letters.encode([python.test])[0]
held = held[: (len(held) - 1) // context * context + 1]
pieces = held[np.arange(0, len(held) - 1, context)[:, None] + np.arange(context + 1)]
english_nats = {"GPT-2, live": -english.log_probabilities(pieces).mean()}
for order in (1, 3, 5):
    ngram = NGram(order, vocabulary_size=len(letters)).fit(running[None])
    english_nats[f"{order}-gram"] = -ngram.log_probabilities(held[None])[0, 1:].mean()
for name, value in english_nats.items():
    print(f"{name:12} {value:.3f} nats a character, {value / np.log(2):.2f} bits")
check.between("gpt2/english_nats", english_nats["GPT-2, live"])
check.between("gpt2/english_gain", english_nats["5-gram"] - english_nats["GPT-2, live"])

# %% [markdown]
# Held-out chapters of the same reference. Trained so briefly, the network loses to the 5-gram, which knows 300,000
# characters by heart; it also begins each window with nothing to look at. Without such a baseline a loss means nothing.
#
# What was trained here is this model, from random weights. One document calls such a run *fine-tuning*; that would need
# a model that had been trained before.

# %%
widgets.explore(
    gpt2_plots.english_panel(english, letters),
    alt="English text by the model trained above; what was given is bold",
    prompt=widgets.text("If a class ", "beginning", examples=("The value of ",)),
    temperature=widgets.slider(0.1, 2.0, 0.1, 0.8, "temperature"),
    top_k=widgets.slider(1, 100, 1, 100, "top-k"),
    seed=widgets.slider(0, 40, 1, 0, "seed"),
)

# %% [markdown]
# Set top-k to 1: each time the best character, *greedy*. **Question:** how long until it repeats itself?
#
# ## Choosing a token
#
# The documents announce text and never write any: there is no loop and no way to choose. Each way is a function of
# logits that gives logits; what is ruled out gets $-\infty$, or nearly.
#
# - **Temperature** $\tau$: divide by it. Below 1 sharper, above 1 flatter, near 0 greedy.
# - **Top-k** (Fan et al., 2018): keep the $k$ best.
# - **Top-p** (Holtzman et al., 2020): keep the fewest that together have at least probability $p$, the *nucleus*: many
#   where the model is unsure, few where it is sure.
# - **Repetition penalty** (Keskar et al., 2019): divide the positive logits of tokens already seen, multiply the
#   negative ones.


# %%
def softmax(logits):
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def my_temperature(logits, temperature):  # [B, V] -> [B, V]
    return logits / temperature


def my_top_k(logits, k):
    return np.where(logits >= np.sort(logits)[:, -k, None], logits, -1e9)


def my_top_p(logits, p):
    order = np.argsort(-logits)
    shares = np.take_along_axis(softmax(logits), order, -1)
    kept = np.cumsum(shares, -1) - shares < p  # what the better ones have already is less than p
    lowest = np.take_along_axis(logits, order, -1)[np.arange(len(logits)), kept.sum(-1) - 1]
    return np.where(logits >= lowest[:, None], logits, -1e9)


def my_penalty(logits, seen, penalty):
    return np.where(seen > 0, np.where(logits > 0, logits / penalty, logits * penalty), logits)


# %%
rng = np.random.default_rng(0)
some_logits = rng.normal(scale=2, size=(3, 50)).astype("float32")
seen = (rng.random(some_logits.shape) < 0.3).astype("float32")
for name, mine, theirs in (
    ("temperature", my_temperature(some_logits, 0.7), sampling.scale_temperature(some_logits, 0.7)),
    ("top-k", my_top_k(some_logits, 5), sampling.keep_top_k(some_logits, 5)),
    ("top-p", my_top_p(some_logits, 0.6), sampling.keep_top_p(some_logits, 0.6)),
    ("repetition", my_penalty(some_logits, seen, 1.3), sampling.penalise_repetition(some_logits, seen, 1.3)),
):
    check.close(softmax(mine), softmax(numbers(theirs)), name=name)
draws = [sampling.sample(some_logits[0], 0.7, top_k=5, seed=seed) for seed in (1, 1, 2, 3)]
print("same seed, same token:", draws)

# %% [markdown]
# Probabilities are compared, since a constant added to all logits changes none of them. (The penalty itself looks at
# the sign of a logit, so it does depend on that constant: its weak point.) A `Sampler` applies penalty, temperature,
# top-k and top-p in this order and then draws. One document wants to cure randomness by training several times; but it
# is set here, when a token is drawn, by the seed and these numbers.
#
# Now on one real distribution: what follows 床前明月, *before the bed, bright moon-*? Every schoolchild in China
# knows 光, *light*. The older text of Li Bai's poem, which the model was trained on, has 床前看月光, *before the bed,
# looking at the moonlight*; so the model does not know the famous wording and would rather have 夜, *night*.

# %%
widgets.explore(
    gpt2_plots.choices_panel(writer),
    alt="Pairs of bars for the most probable next characters: what the model says, and what is drawn from",
    prompt=widgets.text("床前明月", "beginning", examples=("白日", "白日依山尽")),
    form=widgets.choice(FORM_CHOICE, "5x4", "form"),
    temperature=widgets.slider(0.0, 3.0, 0.1, 1.0, "temperature"),
    top_k=widgets.slider(1, 4000, 1, 4000, "top-k"),
    top_p=widgets.slider(0.01, 1.0, 0.01, 0.9, "top-p"),
    penalty=widgets.slider(1.0, 3.0, 0.1, 1.0, "repetition penalty"),
)

# %% [markdown]
# Grey is what the model says, blue what is drawn from; a faint row is cut. Lower top-p and see how many tokens are
# left; then change the beginning to 白日依山尽 (the line is full): one token is left, the comma. Now take
# 白日依山尽，黄河入海流。欲穷千里目, where a comma has been seen, set top-p to 1 and raise the penalty to 3.
# **Question:** why does the penalty do nothing to the first comma of a poem? A poem has to repeat its stops; a penalty
# works against that.
#
# What does temperature do to whole poems?

# %%
heats, scores = (
    [0.2, 0.5, 0.8, 1.0, 1.3, 1.6],
    {"perfect form": [], "tones": [], "pairs that rhyme": [], "distinct": []},
)
for heat in heats:
    drawn = writer.write("7x4", count=sizes.num_poems, sampler=sampling.Sampler(heat), seed=5)
    scores["perfect form"].append(poem_scores.form_share(drawn, ["7x4"] * len(drawn)))
    scores["tones"].append(poem_scores.tone_pattern_share(drawn))
    scores["pairs that rhyme"].append(poem_scores.pair_rhyme_share(drawn))
    scores["distinct"].append(poem_scores.distinct_n(drawn, 2))
plots.show_curves(scores, x=heats, xlabel="temperature", ylabel="share", title="Quatrains of seven")

# %% [markdown]
# Low temperatures keep the rules and say the same things again (few distinct pairs of characters); high ones are never
# dull and break the rhyme first. There is no best value, only a choice.
#
# ## The cache
#
# To write token $t$, the plain loop runs all $t - 1$ tokens through the network, as at the step before, with one token
# more. What is computed again and again? Everything at the old positions: no position sees a later one, so its keys and
# values *cannot* change when a token is appended. Look:

# %%
short, long = (writer.model.filled_cache(row[None, :length], 16) for length in (8, 16))
for layer, (before, after) in enumerate(zip(short[::2], long[::2], strict=True)):
    change = np.abs(numbers(before)[:, :, :8] - numbers(after)[:, :, :8]).max()
    print(f"block {layer}: largest change of the first 8 keys when 8 tokens are appended: {change:.1g}")

# %% [markdown]
# So keep them. With the *key-value cache* a step computes query, key and value of the new token alone, appends key and
# value, and attends to all that is kept. $T$ tokens then cost $T$ single-token passes, not
# $1 + 2 + \dots + T \approx T^2 / 2$. The price is memory: $2 \cdot L \cdot T \cdot D$ numbers a text. The plain loop:


# %%
def my_slow_loop(model, ids, forbidden, end):  # [T] -> the row written on greedily until END
    while ids[-1] != end and len(ids) < model.config.context_length:
        logits = model.next_logits(ids[None])[0]
        logits[list(forbidden)] = -np.inf
        ids = np.append(ids, logits.argmax())
    return ids


greedy_row = my_slow_loop(writer.model, writer.prompt("白日", "5x4"), writer.forbidden, END)
slow_text = writer.decode([greedy_row])[0]
cold = gpt2_plots.always_cutting(1.0, 1, 0.999)
assert writer.write("5x4", "白日", sampler=cold) == [slow_text]
gpt2_plots.poem_view(slow_text, given="白日", title="Greedy, by the slow loop and by the cached one")

# %%
seconds, texts = {}, {}
for name, cached in {"cached": True, "not cached": False}.items():
    writer.write("7x8", cached=cached)  # compiles
    start = time.perf_counter()
    texts[name] = [writer.write("7x8", seed=seed, cached=cached)[0] for seed in range(sizes.num_timed)]
    seconds[name] = (time.perf_counter() - start) / sum(map(len, texts[name]))
    print(f"{name:11} {1000 * seconds[name]:.2f} ms a character")
assert texts["cached"] == texts["not cached"], "the texts differ"
check.between("gpt2/times_faster", seconds["not cached"] / seconds["cached"])

# %% [markdown]
# Same poems, character for character. The gain grows with the length: here at most 68 tokens, in GPT-2 1,024. Beyond
# the context, `generate` forgets the older half and reads the rest again.
#
# ## Poems, judged
#
# Write many, in the forms of the test poems, at temperature 0.8, and do not select. Beside every score stand two
# others: of real held-out poems, and of those poems with their characters shuffled.

# %%
forms = recipes.spread_forms(data.test.forms, sizes.num_poems)
written = writer.write(forms, seed=1)
report = poem_scores.report(written, forms)
check.between("gpt2/form_share", report.generated.form)
check.between("gpt2/pair_rhyme_over_floor", report.generated.pair_rhyme - report.shuffled.pair_rhyme)
check.between("gpt2/tones", report.generated.tones)
marks = writer.vocabulary.encode([poems.marked("", "5x4")])[0]
counted_out = writer.decode(trigram.sample(sizes.num_ngram, seed=0, prefix=marks, max_new_tokens=60))
share = poem_scores.form_share(counted_out, ["5x4"] * len(counted_out))
print(f"3-gram, asked for four lines of five: {share:.0%} in form", *(poem[:24] for poem in counted_out[:3]), sep="\n")
report

# %% [markdown]
# Form it keeps nearly always. (Shuffling keeps the form as well, so it is no floor there.) The tones it keeps more
# strictly than the poets, and pays with variety: fewer different pairs of characters, for a temperature of 0.8 favours
# what is usual. Rhyme is harder: the model sees characters, never sounds, and must learn by heart which of them rhyme;
# it stands far above chance and below the poets. Real poems miss 100 % in rhyme, since sounds have shifted in twelve
# centuries, and in tones, since many poets did not follow that rule. The documents would score such text with BLEU, but
# BLEU needs a reference, and a poem that nobody has written yet has none.
#
# The 3-gram mostly falls back on pairs and single characters, since most runs of three it never saw; and after two
# characters it has forgotten the marks, so hardly any of its texts has the form. (� is a character too rare for the
# vocabulary; the network is forbidden to write it.)
#
# Ten poems, the first ten of a fixed seed:

# %%
ten = writer.write((["5x4", "7x4"] * sizes.num_poems)[: sizes.num_poems], seed=2026)[:10]
gpt2_plots.poems_list(ten, title="Ten poems, unselected")

# %% [markdown]
# Read down the meanings. Lines hang together, with an image and often a parallel in the next one; a poem as a whole
# seldom has a thought that it follows to the end. A larger model and more text might help; that is not measured here.
#
# ## Does it copy?
#
# A model that repeats its training poems would score well on everything so far. The longest run of characters that also
# stands in a training poem tells. Poets quote each other, so the yardstick is not 0 but what held-out poems have.

# %%
index = poem_scores.training_index()
real = [data.test.texts[k] for k in some[: len(written)]]
copies = {
    name: [index.longest_run(poem) for poem in texts] for name, texts in {"written": written, "real": real}.items()
}
plots.show(gpt2_plots.copied_runs({name: [copy.length for copy in found] for name, found in copies.items()}))
worst = max(copies["written"], key=lambda copy: copy.length)
print(f"longest: {worst.length} characters, {worst.run}")
print(f"from {data.train.authors[worst.source]}, {data.train.titles[worst.source]}: {data.train.texts[worst.source]}")
check.between("gpt2/copied_mean", np.mean([copy.length for copy in copies["written"]]))

# %% [markdown]
# The two curves lie close: most poems share three or four characters in a row with a training poem. A bump of the
# written ones at five or seven would mean whole lines learned by heart. Stops are left out, so a run can cross lines.
# The longest copy is printed with its source, as anyone who publishes such text should check.
#
# ## An acrostic
#
# Give the first character of every line and let the model fill the rest: 春夏秋冬, *spring, summer, autumn, winter*.
# What is given is simply not drawn. Eight characters make eight lines.

# %%
widgets.explore(
    gpt2_plots.acrostic_panel(writer),
    alt="A poem whose lines begin with the characters given, with pinyin and meanings",
    heads=widgets.text("春夏秋冬", "first characters", examples=("山水", "东西南北风花雪月")),
    temperature=widgets.slider(0.1, 2.0, 0.1, 0.8, "temperature"),
    seed=widgets.slider(0, 99, 1, 0, "seed"),
)

# %% [markdown]
# 东西南北风花雪月 is *east west south north, wind flowers snow moon*. The model does not plan ahead: it meets the next
# given character only when it gets there, and makes the best of it.
#
# ## The released GPT-2
#
# The weights that OpenAI released have exactly this shape, and `gpt2.load_hugging_face` reads them: download the folder
# `openai-community/gpt2` once (124 million numbers of four bytes, half a gigabyte), set `GPT2_FOLDER` to it, and run
# the next cell. Nothing else in the course needs it.

# %%
folder = Path(os.environ.get("GPT2_FOLDER", "gpt2"))
if folder.is_dir():
    released, its_tokeniser = gpt2.load_hugging_face(folder)
    beginning = its_tokeniser.encode("The moon rose over the river, and")
    going_on = released.generate([beginning], 40, sampling.Sampler(0.8, top_p=0.95), seed=0)[0]
    print(f"{released.count_params():,} weights:", its_tokeniser.decode(going_on))
else:
    print(f"There is no folder {folder.name!r} here, so this cell has nothing to load; the chapter goes on without it.")

# %% [markdown]
# ## What the documents got wrong

# %%
corrections.table("10")

# %% [markdown]
# C2 is the one to remember: a language model that sees only the step before is a 2-gram. C27 is the one to avoid: a
# number introduced by "suppose" is no result. All numbers above come out of cells.
#
# ## Exercises
#
# **1. Bits a byte.** Models with different tokenisers are compared by bits a byte of UTF-8. From nats a token (an
# array, one entry for each token of the text) and the text, compute it.


# %% tags=["exercise"]
def bits_per_byte(nats, text):
    return ...


# %% tags=["solution"]
def bits_per_byte(nats, text):
    return np.sum(nats) / np.log(2) / len(text.encode("utf-8"))


# %%
def test_bits_per_byte(answer):
    check.close(answer(np.full(4, 8 * np.log(2)), "abcd"), 8.0, name="a byte a token, no idea: 8 bits")
    check.close(answer(np.full(2, 12 * np.log(2)), "明月"), 4.0, name="two tokens for six bytes")


check.exercise("10.1 bits a byte", bits_per_byte, test_bits_per_byte, hint="Sum first; a token is no byte.")

# %% [markdown]
# **2. Another way to cut.** Keep the tokens that have at least the share $m$ of the best one's probability: with
# $m = 0.1$ and a best token of 0.3, all from 0.03 on. Rule out the others with $-10^9$.


# %% tags=["exercise"]
def keep_near_best(logits, m):  # [B, V] -> [B, V]
    return ...


# %% tags=["solution"]
def keep_near_best(logits, m):  # [B, V] -> [B, V]
    return np.where(logits >= logits.max(-1, keepdims=True) + np.log(m), logits, -1e9)


# %%
def test_keep_near_best(answer):
    logits = np.log(np.array([[0.3, 0.04, 0.02, 0.64], [0.25, 0.25, 0.25, 0.25]])) + 5
    kept = np.asarray(answer(logits, 0.05)) > -1e8
    assert kept.tolist() == [[True, True, False, True], [True] * 4], f"kept {kept.tolist()}"
    check.close(np.asarray(answer(logits, 1e-9)), logits, name="a small share keeps all")


check.exercise("10.2 near the best", keep_near_best, test_keep_near_best, hint="A ratio is a difference of logits.")

# %% [markdown]
# **3. The price of a context.** How many bytes does the cache of one text need in float32?


# %% tags=["exercise"]
def cache_bytes(num_layers, hidden_dim, num_tokens):
    return ...


# %% tags=["solution"]
def cache_bytes(num_layers, hidden_dim, num_tokens):
    return 2 * num_layers * num_tokens * hidden_dim * 4  # a key and a value for each token in each block


# %%
def test_cache_bytes(answer):
    model = gpt2.GPT2(gpt2.GPT2Config(11, 8, 3, 2, 6))
    check.close(answer(3, 6, 8), sum(numbers(part).nbytes for part in model.empty_cache(1, 8)), name="a small cache")
    check.close(answer(12, 768, 1024), 75_497_472, name="GPT-2 small, full context")


check.exercise(
    "10.3 cache", cache_bytes, test_cache_bytes, hint="Count the tensors of one block; heads share the width."
)

# %% [markdown]
# **4. Best of n.** Rhyme is easier to check than to write. Among the poems of a list that have perfect form
# (`poems.form_of` is not `None`) choose the one with most rhyming pairs (`poem_scores.pair_rhyme_share([poem])`).


# %% tags=["exercise"]
def best_rhymed(candidates):  # list of poems -> one poem
    return ...


# %% tags=["solution"]
def best_rhymed(candidates):  # list of poems -> one poem
    whole = [poem for poem in candidates if poems.form_of(poem)]
    return max(whole, key=lambda poem: poem_scores.pair_rhyme_share([poem]))


# %%
def test_best_rhymed(answer):
    rhymed, plain = (
        "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。",
        "白日依山尽，黄河入海流。欲穷千里目，更上一层山。",
    )
    assert answer([plain, rhymed, rhymed + "山"]) == rhymed, "a poem that rhymes and has its form was there"
    assert answer([plain[:-1], plain]) == plain, "only one poem had its form"


check.exercise("10.4 best of n", best_rhymed, test_best_rhymed, hint="Sort out what has no form, then max with a key.")

# %% [markdown]
# **5. Open end.** Use `best_rhymed` on groups of eight poems and score the chosen ones with `poem_scores.report`. How
# many candidates does it take to rhyme like the poets? What else rises or falls with it? Or: hold the last characters
# of the even lines fixed, as the acrostic holds the first, and choose them so that they rhyme.
#
# ## Summary
#
# - The chain rule makes any text a product of next-token probabilities, each given all tokens before.
# - Nats a character, on held-out text, beside an n-gram: the score of a language model. Perplexities of two tokenisers
#   do not compare.
# - GPT-2: embeddings, pre-norm blocks with a causal mask, one table used twice. Twenty-five lines of NumPy.
# - Temperature, top-k, top-p and penalties reshape one distribution. They are part of the result: report them.
# - Keys and values of old tokens never change. Keeping them turns about $T^2 / 2$ token passes into $T$.
# - Judge samples beside real and shuffled ones, unselected, and look for copies.
#
# ## Sources

# %%
models = ["radford2018", "radford2019", "vaswani2017", "press2017", "sennrich2016"]
corrections.references([*models, "fan2018", "holtzman2020", "keskar2019", "kneser1995", "chen1999"])

# %% [markdown]
# **Where to go next:** `python -m benchmarks.gpt` measures this code against others. Diffusion (chapter 11, in
# preparation) makes a whole picture at once, in many steps, instead of one token after another.
