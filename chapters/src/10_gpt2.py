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
# with one that has learned to write Tang poems. No Chinese is needed: almost every poem comes with the sound and a
# meaning of each character.
#
# You meet the tokeniser, the network and every way to choose a token in a few lines each, and learn what the cache
# keeps that makes writing fast.
#
# *About 90 minutes, about one of them training.*

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
    top_k=widgets.slider(1, 4413, 1, 4413, "top-k"),
    top_p=widgets.slider(0.05, 0.999, 0.001, 0.999, "top-p"),
    seed=widgets.slider(0, 99, 1, 0, "seed"),
)

# %% [markdown]
# 明月 is *bright moon*; your two characters stand on blue, the model wrote the rest. (Sound and meaning are
# looked up for each character by itself, its most usual in poems: 白发, *white hair*, bái fà, shows as bái fā,
# *white, set out*.) Other beginnings: 春风 *spring wind*, 秋 *autumn*, 白云 *white clouds*, 故人 *old friend*, 江
# *river*. Move the seed for another poem, the form for another shape. Turn the temperature up to 2 and watch
# the sense go first, then the shape. Under *how sure it was* the stops (，。) are nearly certain, the first
# characters of a line are not. (Top-k lets only the $k$ most probable characters be drawn, top-p only the most
# probable ones that together reach $p$; more below.) **Question:** what does the seed change when top-k is 1?
#
# Poems of eight lines follow the slider less quickly: every character costs one run through the network.
#
# Or watch it write. The clock counts computing only (it pauses after each character, for the eye). Untick *cache*,
# press *Write*, and the same poem takes longer; the reason comes below.

# %%
gpt2_plots.StreamBox(writer, prompt="春风", form="7x4", seed=3)

# %% [markdown]
# ## The chain rule
#
# A text has the tokens $x_1, \dots, x_T$. Whatever the language, its probability is a product,
#
# $$p(x_1, \dots, x_T) = p(x_1)\, p(x_2 \mid x_1)\, p(x_3 \mid x_1, x_2) \cdots p(x_T \mid x_1, \dots, x_{T-1}).$$
#
# Each factor sees *all* earlier tokens. (A network needs something to read: for poems the first token is a fixed START,
# which costs nothing.) The course grew out of five texts on AIGC, called *the documents* here. One of them sets out to
# build GPT-2, and we shall meet its faults; it says that a model predicts "from the step before". Take a language of
# three words and four sentences:
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


def toy_cost(language, memory):  # -> nats a sentence, for a model that remembers `memory` words
    contexts, runs = Counter(), Counter()
    for sentence, share in language.items():
        words = sentence.split()
        for place, word in enumerate(words):
            context = (place, *words[max(place - memory, 0) : place])
            contexts[context] += share
            runs[context, word] += share
    return -sum(share * np.log(share / contexts[context]) for (context, _), share in runs.items())


for memory in (1, 2):
    nats = toy_cost(language, memory)
    print(f"memory {memory}: {nats:.3f} nats a sentence, perplexity {np.exp(nats / 3):.3f} a word")
print(f"forgetting costs {toy_cost(language, 1) - toy_cost(language, 2):.3f} nats")
check.close(toy_cost(language, 2), -sum(p * np.log(p) for p in language.values()), name="full memory, entropy")

# %% [markdown]
# The function counts how often each word follows what is remembered, place by place, and adds up $-\log p$ with the
# shares as weights.
# With full memory the cost is the entropy of the language: no model can do better. With one word of memory it stays
# 0.193 nats higher for ever, however long the model trains.
#
# ## Perplexity
#
# The cost of a token is $-\log p$, in *nats*. The loss is the mean over tokens; *perplexity* is $e^{\text{loss}}$, the
# number of equally likely tokens among which a model would be as unsure. **By hand:** three equally likely tokens cost
# $\ln 3 = 1.099$ nats each, and $e^{1.099} = 3$. Text is its own target: no labels are needed.
#
# A network gives logits, so softmax and logarithm are taken in one step: $\log p_i = z_i - \ln \sum_j e^{z_j}$.


# %%
def my_loss(logits, targets):  # [B, T, V], [B, T] -> nats a token
    lowered = logits - logits.max(-1, keepdims=True)  # or a large logit would overflow
    log_p = lowered - np.log(np.exp(lowered).sum(-1, keepdims=True))
    return -np.take_along_axis(log_p, targets[..., None], -1).mean()


rng = np.random.default_rng(0)
raw, targets = rng.normal(size=(2, 5, 7)).astype("float32"), rng.integers(0, 7, (2, 5))
theirs = keras.losses.sparse_categorical_crossentropy(targets, raw, from_logits=True)
check.close(my_loss(raw, targets), ops.mean(theirs), name="Keras'")
check.close(my_loss(raw + 7, targets), my_loss(raw, targets), name="7 added to all logits")
check.close(my_loss(np.zeros((1, 1, 3)), np.zeros((1, 1), int)), np.log(3), name="three equal ones")

# %% [markdown]
# The document writes the loss as $y_t \log p$, with $y_t$ the token itself. But a token's number is a name. Number the
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
# (On TensorFlow the last loss as written is $\ln 3$ again: it cuts the supposed probabilities 7.9, 7.1 and 7.1 at 1,
# and the three look alike. The other backends divide by their sum and get another wrong number.)
#
# Now real text. The data are 36,405 poems of the *Complete Tang Poems* (from the Tang dynasty, 618 to 907, and some
# decades after it) of regular *shape*: four or eight lines, all of five or all of seven characters. (Whether rhyme and
# tones follow the rules was not asked.) Two marks in front say which shape (⑤④: five characters, four lines), so form
# is something that one can ask for. Versions of one poem lie in one part, so that no test poem was trained on in
# another copy.

# %%
data = load_poems()
print(len(data.train), len(data.validation), len(data.test), Counter(data.train.forms))
print(writer.vocabulary, "such as", " ".join(writer.vocabulary.tokens[:16]))
famous = "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。"
print(poems.marked(famous), writer.encode([famous])[0][:9])
gpt2_plots.poems_list([famous], title="Wang Zhihuan, On Stork Tower")

# %% [markdown]
# "The white sun leans on the mountains and is gone, / the Yellow River flows into the sea. / You want to see a thousand
# miles? / Climb one more storey." Even lines rhyme (*liú*, *lóu*). A Chinese syllable is also spoken in a *tone*. The
# poets told two kinds apart: *level* (today mostly the first and second tone, ā and á) and *oblique* (the third and
# fourth, ǎ and à; and what then ended in p, t or k). Where the rules are kept, characters 2 and 4 of a line, and 4 and
# 6, are of different kinds, and so are 2 and 2, 4 and 4, 6 and 6 of the two lines of a pair.
#
# How many nats does a character of a held-out poem cost? The yardsticks count runs of characters (*n-grams*, with
# Kneser-Ney smoothing, which lends probability to runs that were never seen; Chen and Goodman, 1999).

# %%
some = np.random.default_rng(0).permutation(len(data.test))[: sizes.test_poems]
held_texts, held_forms = ([part[k] for k in some] for part in (data.test.texts, data.test.forms))
train_rows = writer.encode(data.train.texts, data.train.forms)[:, 1:]
test_rows = writer.encode(held_texts, held_forms)[:, 1:]
counted = writer.is_character(test_rows)
nats = {"uniform guess": np.log(len(writer.vocabulary))}
for order in (1, 2, 3):
    ngram = NGram(order).fit(train_rows)
    nats[f"{order}-gram"] = -ngram.log_probabilities(test_rows)[counted].mean()
trigram = ngram
nats["GPT-2"] = writer.nats(held_texts, held_forms)
print(f"{len(some):,} held-out poems")
for name, value in nats.items():
    print(f"{name:14} {value:.2f} nats a character, perplexity {np.exp(value):7.0f}")
check.between("gpt2/poet_nats", nats["GPT-2"])
check.between("gpt2/poet_gain", nats["3-gram"] - nats["GPT-2"])

# %% [markdown]
# All are scored on the same poems, and on their Chinese characters alone. To the network a stop is free, since it
# counts the characters of a line; to the 3-gram one costs 1.8 nats. (It also lends stops some probability where none
# can come: about 0.14 of its nats a character.) Read the last column as a choice: the network is as unsure as if it had
# to pick among so many equally likely characters. That is far from certainty, and no failure. Poems are meant to
# surprise.
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
        best = min(
            pairs, key=lambda pair: (-pairs[pair], ids[pair[0]], ids[pair[1]])
        )  # of equals that with older symbols
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
# A new text is cut by the merges that were learnt, word by word: of all pairs in a word that are known, the one that
# was learnt *first* is merged, until none is left.


# %%
def my_encode(text, merges):  # -> list of tokens
    rank = {pair: number for number, pair in enumerate(merges)}
    tokens = []
    for word in bpe.pretokenise(text):
        word = tuple(bpe.in_characters(word))
        while known := [pair for pair in pairwise(word) if pair in rank]:
            word = my_merge(word, min(known, key=rank.get))
        tokens += word
    return tokens


for text in ("The function returns 明月, a string.", "naïve 🙂", python.test[:2000]):
    tokens = my_encode(text, tokeniser.merges)
    assert [tokeniser.ids[token] for token in tokens] == tokeniser.encode(text), "the tokens differ"
print(my_encode("The function returns 明月.", tokeniser.merges))

# %% [markdown]
# A warning. Fewer tokens a text means more nats a token, so the *perplexity of two tokenisers cannot be compared*. Nats
# a character can.
#
# ## The network
#
# GPT-2 is the decoder of chapter 09 without anything to translate: no encoder, no cross-attention (the document gives
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


def my_feed_forward(x, layer):  # [T, D] -> [T, D]
    return dense(gelu(dense(x, layer.widen)), layer.narrow)


# %%
def my_gpt2(model, ids):  # [T] -> [T, V]
    table, places = (numbers(layer.embeddings) for layer in (model.token_embedding, model.position_embedding))
    x = table[ids] + places[: len(ids)]
    for block in model.blocks:
        x = x + my_attention(layer_norm(x, block.attention_norm), block.attention)
        x = x + my_feed_forward(layer_norm(x, block.feed_forward_norm), block.feed_forward)
    return layer_norm(x, model.norm) @ table.T  # the table again: tied


row = writer.encode([famous])[0]
logits = numbers(writer.model(row[None]))[0]
check.close(my_gpt2(writer.model, row), logits, tolerance=1e-4, name="logits")

# %% [markdown]
# The last line uses the embedding table a second time, as the output layer (*tied*; Press and Wolf, 2017). A token is
# likely if its embedding points where the text points. The document's listing learns a second table. Count what that
# costs: a block has $12 D^2 + 13 D$ weights, the token table $V D$, the table of positions $C D$ (for a context of $C$
# tokens), the last norm $2 D$.


# %%
def my_num_weights(vocabulary_size, context_length, num_layers, width, tied=True):
    blocks = num_layers * (12 * width**2 + 13 * width)
    return (1 if tied else 2) * vocabulary_size * width + context_length * width + blocks + 2 * width


config = writer.model.config
mine = my_num_weights(config.vocabulary_size, config.context_length, config.num_layers, config.hidden_dim)
check.close(mine, writer.model.count_params(), name=f"the poet's {mine:,} weights")
two_tables = my_num_weights(50257, 1024, 12, 768, tied=False)
for name, num_layers, width in (("small", 12, 768), ("medium", 24, 1024), ("large", 36, 1280), ("XL", 48, 1600)):
    count = my_num_weights(50257, 1024, num_layers, width)
    print(f"GPT-2 {name:7} {num_layers} blocks, width {width:5,}: {count:13,} weights")
print(f"GPT-2 small with two tables:       {two_tables:13,} weights")

# %% [markdown]
# The four sizes of GPT-2, to the last weight, and nobody had to build them: 124 million to 1.56 billion. (The paper's
# own table is lower; its authors corrected it later.) A second table would add 31 % to the smallest.
#
# Two more details. Weights start normal with deviation 0.02 (Radford et al., 2018), and those that write into the
# stream $x$ with $0.02 / \sqrt{2L}$ (Radford et al., 2019): $2L$ independent additions make a variance $2L$ times as
# large, and the factor takes that back. And nothing may look ahead (the mask of Vaswani et al., 2017). Test it: change
# one character, and no earlier logit moves.

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
# by one (the document's listing forgets to); the loss is `my_loss`, and starts near $\ln V$, a uniform guess.

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
deviations = ", ".join(f"{np.std(numbers(layer.kernel)):.4f}" for layer in (first.widen, first.narrow))
print(f"{english.count_params():,} weights; deviations of the first block's feed-forward matrices {deviations}")
start = english(inputs[:8])
check.close(my_loss(numbers(start), targets[:8]), english.compute_loss(None, targets[:8], start), name="first loss")
print(f"a uniform guess: {np.log(len(letters)):.3f} nats, the first loss: {my_loss(numbers(start), targets[:8]):.3f}")

# %%
calm = sampling.Sampler(0.8, top_k=100, top_p=0.999)
english.compile(recipes.transformer_optimizer(sizes.steps, peak=3e-3), jit_compile=False)
history = training.fit(
    english,
    (inputs, targets),
    epochs=1,
    batch_size=sizes.batch_size,
    samples=lambda: gpt2_plots.text_figure(gpt2_plots.go_on(english, letters, "The ", 200, calm), "temperature 0.8"),
)

# %% [markdown]
# On the left two curves: the loss in nats a character, which falls, and the accuracy, which rises: the share of
# characters that the model had ranked first. On the right what the model writes after *The*, always with the same
# random numbers. First come spaces and frequent letters, then word lengths, then words. Is it better than counting?

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
# The scores are on held-out chapters of the same reference. Trained so briefly, the network loses to the 5-gram, which
# knows 300,000 characters by heart; it also begins each window with nothing to look at. Without such a baseline a loss
# means nothing.
#
# What was trained here is this model, from random weights. The document calls such a run *fine-tuning*; that would need
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
# The document announces text and never writes any: there is no loop and no way to choose. Chapter 06 searched for the
# most probable sentence with a beam. That fits a translation, of which few are right. A poem has no right continuation,
# and the most probable texts are dull and repeat themselves (Holtzman et al., 2020). So tokens are *drawn*, from a
# distribution that was reshaped first. Each way to reshape is a function of logits that gives logits; what is ruled out
# gets $-\infty$, or nearly.
#
# - **Temperature** $\tau$: divide by it. Below 1 sharper, above 1 flatter, near 0 greedy.
# - **Top-k** (Fan et al., 2018): keep the $k$ best.
# - **Top-p** (Holtzman et al., 2020): keep the fewest that together have at least probability $p$, the *nucleus*: many
#   where the model is unsure, few where it is sure.
# - **Repetition penalty** (after Keskar et al., 2019, who divide the logits of all tokens already seen by a number
#   $\theta > 1$): divide the positive ones by $\theta$ and multiply the negative ones, since dividing those would raise
#   them.
#
# Then the draw: lay the probabilities end to end on the line from 0 to 1, throw a random number, and take the token in
# whose piece it falls. **By hand:** probabilities 0.5, 0.3 and 0.2 reach up to 0.5, 0.8 and 1; the number 0.6 picks the
# second.


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


def my_draw(logits, chance):  # [B, V], [B] in [0, 1) -> [B]
    reach = np.cumsum(softmax(logits).astype("float64"), -1)
    return (reach > chance[:, None] * reach[:, -1:]).argmax(-1)  # rounding may leave the last reach below 1


# %%
rng = np.random.default_rng(0)
some_logits = rng.normal(scale=2, size=(3, 50)).astype("float32")
seen = (rng.random(some_logits.shape) < 0.3).astype("float32")
given, given_seen = (ops.convert_to_tensor(values) for values in (some_logits, seen))
for name, mine, theirs in (
    ("temperature", my_temperature(some_logits, 0.7), sampling.scale_temperature(given, 0.7)),
    ("top-k", my_top_k(some_logits, 5), sampling.keep_top_k(given, 5)),
    ("top-p", my_top_p(some_logits, 0.6), sampling.keep_top_p(given, 0.6)),
    ("repetition", my_penalty(some_logits, seen, 1.3), sampling.penalise_repetition(given, given_seen, 1.3)),
):
    check.close(softmax(mine), softmax(numbers(theirs)), name=name)
chance = rng.random(len(some_logits), "float32")
check.close(my_draw(some_logits, chance), sampling.draw(given, ops.convert_to_tensor(chance)), name="draw")
check.close(my_draw(np.log([[0.5, 0.3, 0.2]]), np.array([0.6])), np.array([1]), name="by hand")
draws = [sampling.sample(some_logits[0], 0.7, top_k=5, seed=seed) for seed in (1, 1, 2, 3)]
print("same seed, same token:", draws)

# %% [markdown]
# Probabilities are compared, since a constant added to all logits changes none of them. (The penalty itself looks at
# the sign of a logit, so it does depend on that constant: its weak point.) A `Sampler` applies penalty, temperature,
# top-k and top-p in this order and then draws. The document wants to cure randomness by training several times; but it
# is set here, when a token is drawn, by the seed and these numbers.
#
# Now on one real distribution: what follows 床前明月, *before the bed, bright moon-*? Every schoolchild in China knows
# 光, *light*. The older text of Li Bai's poem, which the model was trained on, has 床前看月光, *before the bed, looking
# at the moonlight*; so the famous wording is new to it. Where does 光 come in its list, and what would it rather have?

# %%
widgets.explore(
    gpt2_plots.choices_panel(writer),
    alt="Pairs of bars for the most probable next characters: what the model says, and what is drawn from",
    prompt=widgets.text("床前明月", "beginning", examples=("白日", "白日依山尽")),
    form=widgets.choice(FORM_CHOICE, "5x4", "form"),
    temperature=widgets.slider(0.0, 3.0, 0.1, 1.0, "temperature"),
    top_k=widgets.slider(1, 4413, 1, 4413, "top-k"),
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
# Three curves are rules kept: form, tones, rhyme. One, *distinct*, is variety: different pairs of characters among all
# pairs. From left to right variety rises. Tones give way slowly from the start; rhyme holds up to about 0.8
# (differences of a few hundredths are chance with so few poems) and then falls furthest; the form holds longest. At a
# low temperature the model says the same things again; at a high one it is never dull. There is no best value, only a
# choice.
#
# ## The cache
#
# To write token $t$, the plain loop runs all $t - 1$ tokens through the network: those of the step before, and one
# more. What is computed again and again? Everything at the old positions: no position sees a later one, so its keys and
# values *cannot* change when a token is appended. Look:

# %%
short, long = (writer.model.filled_cache(row[None, :length], 16) for length in (8, 16))
for layer, (before, after) in enumerate(zip(short[::2], long[::2], strict=True)):
    change = np.abs(numbers(before)[:, :, :8] - numbers(after)[:, :, :8]).max()
    print(f"block {layer}: largest change of the first 8 keys when 8 tokens are appended: {change:.1g}")
moved = [np.abs(numbers(a)[:, :, :8] - numbers(b)[:, :, :8]).max() for a, b in zip(short, long, strict=True)]
assert max(moved) < 1e-5, "an old key or value moved"

# %% [markdown]
# So keep them. With the *key-value cache* a step computes query, key and value of the new token alone, appends key and
# value, and attends to all that is kept. $T$ tokens then cost $T$ single-token passes, not
# $1 + 2 + \dots + T \approx T^2 / 2$. The price is memory: $2 \cdot L \cdot T \cdot D$ numbers a text. The plain loop,
# which always takes the most probable token:


# %%
def my_slow_loop(model, ids, forbidden, end):  # [T] -> the row written on greedily until END
    while ids[-1] != end and len(ids) < model.config.context_length:
        logits = model.next_logits(ids[None])[0]
        logits[list(forbidden)] = -np.inf
        ids = np.append(ids, logits.argmax())
    return ids


slow_row = my_slow_loop(writer.model, writer.prompt("白日", "5x4"), writer.forbidden, END)
gpt2_plots.poem_view(writer.decode([slow_row])[0], given="白日", title="Greedy, by the slow loop")

# %% [markdown]
# And one step with what is kept: a list of keys and values for each block. No mask is needed, since what lies ahead is
# not there yet.


# %%
def my_look(x, layer, kept):  # [D], list of (key, value) of the tokens so far -> [D]; the new pair joins the list
    kept.append((dense(x, layer.key), dense(x, layer.value)))
    shape = (len(kept), layer.num_heads, -1)
    keys, values = (np.reshape(part, shape) for part in zip(*kept, strict=True))  # [T, H, D/H]
    query = dense(x, layer.query).reshape(shape[1:])
    weights = softmax((keys * query).sum(-1).T / np.sqrt(query.shape[-1]))  # [H, T]
    found = (weights.T[..., None] * values).sum(0)  # [H, D/H]
    return dense(found.reshape(-1), layer.output_projection)


def my_step(model, token, kept):  # id of one token, a list for each block -> [V]
    table, places = (numbers(layer.embeddings) for layer in (model.token_embedding, model.position_embedding))
    x = table[token] + places[len(kept[0])]
    for block, pairs in zip(model.blocks, kept, strict=True):
        x = x + my_look(layer_norm(x, block.attention_norm), block.attention, pairs)
        x = x + my_feed_forward(layer_norm(x, block.feed_forward_norm), block.feed_forward)
    return layer_norm(x, model.norm) @ table.T


# %%
def my_cached_loop(model, ids, forbidden, end):  # as my_slow_loop
    kept = [[] for _ in model.blocks]
    logits = [my_step(model, token, kept) for token in ids][-1]
    while ids[-1] != end and len(ids) < model.config.context_length:
        logits[list(forbidden)] = -np.inf
        ids = np.append(ids, logits.argmax())
        logits = my_step(model, ids[-1], kept)
    return ids


kept = [[] for _ in writer.model.blocks]
steps = np.array([my_step(writer.model, token, kept) for token in row])
check.close(steps, logits, tolerance=1e-4, name="logits, token by token")
cached_row = my_cached_loop(writer.model, writer.prompt("白日", "5x4"), writer.forbidden, END)
check.close(cached_row, slow_row, name="the poem of the slow loop")
written = writer.write("5x4", "白日", sampler=sampling.Sampler(top_k=1, top_p=0.999))
assert written == writer.decode([slow_row]), "the package writes another poem"

# %% [markdown]
# All three write the same poem. Now the clock, on the package's two loops:

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
# the context, `generate` forgets the older half and reads the rest again. (The box at the top is slower a character: to
# show each one it leaves the compiled loop every time; here a whole poem is one call.)
#
# ## Poems, judged
#
# Write many, in the forms of the test poems, at temperature 0.8, and do not select. Beside every score stand two
# others: of real held-out poems, and of the same characters dealt out anew over all poems of a form.

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
# Form it keeps nearly always. (Shuffling keeps the form as well, so it is no floor there.) For tones and for different
# pairs of characters compare it with the poets: a temperature of 0.8 favours what is usual, and that is more rule and
# less variety. Rhyme is harder. The model sees characters, never sounds, and must learn by heart both tones and rhymes;
# but a tone is one of two kinds and depends on near neighbours, while a rhyme must agree, among a dozen groups or more,
# with a character twelve or sixteen tokens back. It stands far above chance and below the poets. Real poems do not
# reach 100 % in rhyme, since sounds have shifted in twelve centuries, and in tones, since many poets did not follow
# that rule and those who did had licences. The document would score such text with BLEU, but BLEU needs a reference,
# and a poem that nobody has written yet has none.
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
real = held_texts[: len(written)]
copies = {
    name: [index.longest_run(poem) for poem in texts] for name, texts in {"written": written, "real": real}.items()
}
plots.show(gpt2_plots.copied_runs({name: [copy.length for copy in found] for name, found in copies.items()}))
worst = max(copies["written"], key=lambda copy: copy.length)
print(f"longest: {worst.length} characters, {worst.run}")
check.between("gpt2/copied_mean", np.mean([copy.length for copy in copies["written"]]))
found_in = f"{data.train.authors[worst.source]}, {data.train.titles[worst.source]}"
gpt2_plots.poems_list([data.train.texts[worst.source]], title=f"From {found_in}")

# %% [markdown]
# See whether the two curves lie close. Nearly every poem shares a few characters in a row with a training poem; a bump
# of the written ones at five or seven would mean whole lines learned by heart. Stops are left out, so a run can cross
# lines. The longest copy is printed with its source, as anyone who publishes such text should check.
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
# GPT-2 (Radford et al., 2019) is this network in the four sizes counted above. It was trained on *WebText*, the text of
# pages that had been linked on Reddit and liked there (3 points or more): over 8 million pages, 40 GB. What the paper
# showed was not a new network, but what so much text teaches one that is trained for no task (*zero-shot*): asked in
# words, the largest model answered questions about a text at least as well as three of four systems that had learned
# from 127,000 examples, and it predicted seven of eight collections of text better than any model before, without
# training on them.
#
# The weights that OpenAI released have exactly this shape, and `gpt2.load_hugging_face` reads them. Download four files
# of `openai-community/gpt2` on Hugging Face into one folder: `config.json`, `vocab.json`, `merges.txt` and
# `model.safetensors` (124 million numbers of four bytes, half a gigabyte). Name the folder `gpt2` and put it beside
# this notebook, or set `GPT2_FOLDER` to it before you start the course; then run the next cell. Nothing else needs it.

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
# number introduced by "suppose" is no result. All results above come out of cells or name their source. (C10, which C26
# names, stands in the table of chapter 09: the listing's model never calls its attention.)
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
# $m = 0.1$ and a best token of 0.3, all from 0.03 on. This is *min-p* (Nguyen et al., 2025; that it writes better than
# top-p is disputed: Schaeffer et al., 2025). Rule out the others with $-10^9$.


# %% tags=["exercise"]
def keep_near_best(logits, m):  # [B, V] -> [B, V]
    return ...


# %% tags=["solution"]
def keep_near_best(logits, m):  # [B, V] -> [B, V]
    return np.where(logits >= logits.max(-1, keepdims=True) + np.log(m), logits, -1e9)


# %%
def test_keep_near_best(answer):
    shares = np.array([[0.3, 0.04, 0.02, 0.64], [0.25, 0.25, 0.25, 0.25]])
    logits = np.log(shares) + np.array([[5.0], [-5.0]])  # each row has its own best
    kept = np.asarray(answer(logits, 0.05)) > -1e8
    assert kept.tolist() == [[True, True, False, True], [True] * 4], f"kept {kept.tolist()}"
    check.close(np.asarray(answer(logits, 1e-9)), logits, name="a small share keeps all")
    best = np.asarray(answer(logits, 1.0)) > -1e8
    assert best.tolist() == [[False, False, False, True], [True] * 4], f"m = 1 kept {best.tolist()}"


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
# (`poems.form_of` is not `None`) choose the one with the largest share of rhyming pairs
# (`poem_scores.pair_rhyme_share([poem])`).


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
    assert answer([rhymed + "山", plain, rhymed]) == rhymed, "a poem that rhymes and has its form was there"
    assert answer([rhymed, plain]) == rhymed, "the first one rhymes"
    for other in (plain[:-1], rhymed.replace("尽", "")):
        assert answer([other, plain]) == plain, "only one poem had its form"
    half = rhymed + "白日依山尽，黄河入海秋。欲穷千里目，更上一层山。"
    none = plain + "白日依山尽，黄河入海风。欲穷千里目，更上一层门。"
    assert answer([none, half]) == half, "eight lines: half of the pairs rhyme, or none"


check.exercise("10.4 best of n", best_rhymed, test_best_rhymed, hint="Sort out what has no form, then max with a key.")

# %% [markdown]
# **5. Open end.** Use `best_rhymed` on groups of eight poems and score the chosen ones with `poem_scores.report`. How
# many candidates does it take to rhyme like the poets? What else rises or falls with it? Or: hold the last characters
# of the even lines fixed, as the acrostic holds the first, and choose them so that they rhyme.
#
# ## Summary
#
# - The chain rule makes the probability of any text a product, of each token's probability given all tokens before.
# - Nats a character, on held-out text, beside an n-gram: the score of a language model. Perplexities of two tokenisers
#   do not compare.
# - GPT-2: embeddings, pre-norm blocks with a causal mask, one table used twice. Twenty-six lines of NumPy.
# - Temperature, top-k, top-p and penalties reshape one distribution. They are part of the result: report them.
# - As long as the text fits into the context, keys and values of old tokens do not change. Keeping them turns about
#   $T^2 / 2$ token passes into $T$.
# - Judge samples beside real and shuffled ones, unselected, and look for copies.
#
# ## Sources

# %%
models = ["radford2018", "radford2019", "vaswani2017", "press2017", "sennrich2016"]
choices = ["fan2018", "holtzman2020", "keskar2019", "nguyen2025", "schaeffer2025"]
corrections.references([*models, *choices, "kneser1995", "chen1999"])

# %% [markdown]
# **Where to go next:** `python -m benchmarks.gpt` measures this code against others. Diffusion (chapter 11, in
# preparation) makes a whole picture at once, in many steps, instead of one token after another.
