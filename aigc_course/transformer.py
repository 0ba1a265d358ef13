"""The Transformer (Vaswani et al., 2017): masks, positions, many-headed attention, blocks, encoder and decoder.

Shapes: B batch, N texts, T steps, S memory steps, D width, H heads, L blocks, C steps that a cache can hold, V target
vocabulary.
Taught in chapters/09_transformer.   Corrects C7 to C18, C28, C31, C32.

``y = x + attention(norm(x))``, ``block(x) = y + feed_forward(norm(y))``, with the norms in front (pre-norm), or
each behind its sum as in the paper (post-norm).
"""

import keras
import numpy as np
from keras import ops

from aigc_course.attention import scaled_dot_product_attention
from aigc_course.translator import Translator

EPSILON = 1e-5  # in the root of layer normalisation, as in GPT-2


def causal_mask(length):  # -> [T, T]
    """True where step t (row) may look at step s (column): at itself and at what came before, s <= t."""
    steps = ops.arange(length)
    return ops.expand_dims(steps, 1) >= steps


def sinusoidal_table(length, width):  # -> [T, D]
    """``sin(t / 10000^(2i/D))`` in column 2i and the cosine of the same in column 2i + 1 (Vaswani et al., 2017, 3.5).

    ValueError for an odd width.
    """
    if width % 2:
        raise ValueError(f"Sines and cosines come in pairs: the width must be even, not {width}.")
    angles = np.arange(length)[:, None] / 10000 ** (np.arange(0, width, 2) / width)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, width).astype("float32")


@keras.saving.register_keras_serializable("aigc_course")
class SinusoidalPositions(keras.layers.Layer):
    """Adds to each step the row of ``sinusoidal_table`` that belongs to its position; nothing is learned.

    Args:
        max_length: positions in the table.
    """

    def __init__(self, max_length, **options):
        super().__init__(**options)
        self.max_length = max_length

    def build(self, shape):
        self.table = sinusoidal_table(self.max_length, shape[-1])

    def call(self, inputs, start=0):  # [B, T, D] -> [B, T, D]
        """``start``: position of the first step. ValueError if it is negative, and for more steps than the table has
        rows behind it, as far as both are known."""
        length = ops.shape(inputs)[1]
        known = start if isinstance(start, int) else 0
        end = length + known if isinstance(length, int) else 0
        if known < 0:
            raise ValueError(f"The first position is 0 or more, not {known}.")
        if end > self.max_length:
            raise ValueError(f"{end} steps are more than the {self.max_length} positions of the table.")
        table = ops.convert_to_tensor(self.table, inputs.dtype)
        rows = ops.arange(length, dtype="int32") + ops.cast(start, "int32")
        return inputs + ops.take(table, rows, axis=0)

    def get_config(self):
        return {**super().get_config(), "max_length": self.max_length}


@keras.saving.register_keras_serializable("aigc_course")
class MultiHeadAttention(keras.layers.Layer):
    """H attentions side by side, each in D / H of the width, joined by a last matrix (Vaswani et al., 2017, 3.2.2).

    Args:
        num_heads: H; it must divide ``hidden_dim``.
        hidden_dim: D.
        dropout: share of the output that is set to 0 in training.
        kernel_initializer, output_initializer: of the matrices of queries, keys and values, and of the last one, as
            the others unless told.

    Raises:
        ValueError: a width that the heads cannot share.
    """

    def __init__(
        self,
        num_heads,
        hidden_dim,
        dropout=0.0,
        kernel_initializer="glorot_uniform",
        output_initializer=None,
        **options,
    ):
        super().__init__(**options)
        if num_heads < 1 or hidden_dim < 1 or hidden_dim % num_heads:
            raise ValueError(f"{num_heads} heads cannot share a width of {hidden_dim}.")
        self.num_heads, self.hidden_dim, self.dropout_rate = num_heads, hidden_dim, dropout
        self.kernel_initializer, self.output_initializer = kernel_initializer, output_initializer
        dense = lambda name, start: keras.layers.Dense(hidden_dim, kernel_initializer=fresh(start), name=name)  # noqa: E731
        self.query, self.key, self.value = (dense(name, kernel_initializer) for name in ("query", "key", "value"))
        self.output_projection = dense("output_projection", output_initializer or kernel_initializer)
        self.dropout = keras.layers.Dropout(dropout)

    def build(self, shape):
        for layer in (self.query, self.key, self.value, self.output_projection):
            layer.build((*shape[:-1], self.hidden_dim) if layer is self.output_projection else shape)

    def call(self, queries, memory=None, attention_mask=None, return_weights=False, training=False):
        """[B, T, D], [B, S, D] -> [B, T, D], and with ``return_weights`` the weights of every head, [B, H, T, S].

        Without ``memory`` the steps look at each other. ``attention_mask``: boolean, broadcast to [B, H, T, S].
        """
        keys, values = self.keys_and_values(queries if memory is None else memory)
        output, weights = self.look(queries, keys, values, attention_mask, training)
        return (output, weights) if return_weights else output

    def keys_and_values(self, memory):  # [B, S, D] -> [B, H, S, D/H] x 2
        """What can be looked at: made once where a memory is used again and again."""
        return self.split(self.key(memory)), self.split(self.value(memory))

    def look(self, queries, keys, values, attention_mask=None, training=False):  # [B, T, D], [B, H, S, D/H] x 2
        """Output and weights, as ``call``, at keys and values that are made already."""
        found, weights = scaled_dot_product_attention(self.split(self.query(queries)), keys, values, attention_mask)
        return self.dropout(self.output_projection(self._join(found)), training=training), weights

    def split(self, values):  # [B, T, D] -> [B, H, T, D/H]
        """The width cut into heads."""
        shape = (*ops.shape(values)[:2], self.num_heads, self.hidden_dim // self.num_heads)
        return ops.swapaxes(ops.reshape(values, shape), 1, 2)

    def _join(self, heads):  # [B, H, T, D/H] -> [B, T, D]
        rows, _, steps, _ = ops.shape(heads)
        return ops.reshape(ops.swapaxes(heads, 1, 2), (rows, steps, self.hidden_dim))

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "hidden_dim": self.hidden_dim,
            "dropout": self.dropout_rate,
            **_starts(self),
        }


@keras.saving.register_keras_serializable("aigc_course")
class FeedForward(keras.layers.Layer):
    """``W2 gelu(W1 x + b1) + b2`` at every step alike; GELU by its tanh formula (Hendrycks and Gimpel, 2016), as GPT-2.

    Args:
        intermediate_dim: width in between, usually four times D.
        hidden_dim: D.
        dropout: share of the output that is set to 0 in training.
        kernel_initializer, output_initializer: of the first and of the second matrix; the second as the first unless
            told.
    """

    def __init__(
        self,
        intermediate_dim,
        hidden_dim,
        dropout=0.0,
        kernel_initializer="glorot_uniform",
        output_initializer=None,
        **options,
    ):
        super().__init__(**options)
        self.intermediate_dim, self.hidden_dim, self.dropout_rate = intermediate_dim, hidden_dim, dropout
        self.kernel_initializer, self.output_initializer = kernel_initializer, output_initializer
        self.widen = keras.layers.Dense(intermediate_dim, kernel_initializer=fresh(kernel_initializer), name="widen")
        self.narrow = keras.layers.Dense(
            hidden_dim, kernel_initializer=fresh(output_initializer or kernel_initializer), name="narrow"
        )
        self.dropout = keras.layers.Dropout(dropout)

    def build(self, shape):
        self.widen.build(shape)
        self.narrow.build((*shape[:-1], self.intermediate_dim))

    def call(self, inputs, training=False):  # [B, T, D] -> [B, T, D]
        wide = keras.activations.gelu(self.widen(inputs), approximate=True)
        return self.dropout(self.narrow(wide), training=training)

    def get_config(self):
        return {
            **super().get_config(),
            "intermediate_dim": self.intermediate_dim,
            "hidden_dim": self.hidden_dim,
            "dropout": self.dropout_rate,
            **_starts(self),
        }


@keras.saving.register_keras_serializable("aigc_course")
class TransformerBlock(keras.layers.Layer):
    """Attention and feed-forward network, each with a residual connection and a layer normalisation.

    Args:
        num_heads, hidden_dim: of the attention.
        intermediate_dim: of the feed-forward network; 4 times D unless told.
        dropout: share of each part's output that is set to 0 in training.
        norm_first: True is pre-norm, ``x + f(norm(x))``; False post-norm, ``norm(x + f(x))``.
        cross_attention: a second attention, at a memory (the decoder's block in translation).
        epsilon: of the layer normalisations.
        kernel_initializer: of all other matrices than those of ``output_initializer``.
        output_initializer: of the two or three matrices that write into the residual stream; as the others unless told.
    """

    def __init__(
        self,
        num_heads,
        hidden_dim,
        intermediate_dim=None,
        dropout=0.0,
        norm_first=True,
        cross_attention=False,
        epsilon=EPSILON,
        kernel_initializer="glorot_uniform",
        output_initializer=None,
        **options,
    ):
        super().__init__(**options)
        self.num_heads, self.hidden_dim, self.dropout_rate = num_heads, hidden_dim, dropout
        self.intermediate_dim = 4 * hidden_dim if intermediate_dim is None else intermediate_dim
        self.norm_first, self.epsilon = norm_first, epsilon
        self.kernel_initializer, self.output_initializer = kernel_initializer, output_initializer
        starts = {"kernel_initializer": kernel_initializer, "output_initializer": output_initializer}
        norm = lambda name: keras.layers.LayerNormalization(epsilon=epsilon, name=name)  # noqa: E731
        self.attention_norm = norm("attention_norm")
        self.attention = MultiHeadAttention(num_heads, hidden_dim, dropout, name="attention", **starts)
        self.cross_norm = self.cross_attention = None
        if cross_attention:
            self.cross_norm = norm("cross_norm")
            self.cross_attention = MultiHeadAttention(num_heads, hidden_dim, dropout, name="cross_attention", **starts)
        self.feed_forward_norm = norm("feed_forward_norm")
        self.feed_forward = FeedForward(self.intermediate_dim, hidden_dim, dropout, name="feed_forward", **starts)

    def build(self, shape):
        parts = (self.attention_norm, self.attention, self.cross_norm, self.cross_attention)
        for layer in (*parts, self.feed_forward_norm, self.feed_forward):
            if layer is not None:
                layer.build(shape)

    def call(self, inputs, attention_mask=None, memory=None, memory_mask=None, return_weights=False, training=False):
        """Through the parts of the block, [B, T, D] -> [B, T, D].

        Args:
            memory: [B, S, D], for a block with cross-attention.
            attention_mask, memory_mask: booleans, broadcast to [B, H, T, T] and [B, H, T, S].
            return_weights: give also the weights of the attention and of the cross-attention (None without one).
        """
        self._check(memory)
        noted = None if memory is None else self.cross_attention.keys_and_values(memory)

        def look(x):
            return self.attention(x, attention_mask=attention_mask, return_weights=True, training=training)

        output, *weights = self._through(inputs, look, noted, memory_mask, training)
        return (output, *weights) if return_weights else output

    def _check(self, memory):
        if (memory is None) != (self.cross_attention is None):
            raise ValueError("A block with cross-attention needs a memory, a block without takes none.")

    def _through(self, x, look, noted, memory_mask, training=False):
        """The parts in their order; ``look`` is the attention, ``noted`` keys and values of the memory."""
        x, weights = self._add(x, self.attention_norm, look)
        found = None
        if noted is not None:
            cross = lambda x: self.cross_attention.look(x, *noted, memory_mask, training)  # noqa: E731
            x, found = self._add(x, self.cross_norm, cross)
        x, _ = self._add(x, self.feed_forward_norm, lambda x: (self.feed_forward(x, training=training), None))
        return x, weights, found

    def _add(self, x, norm, part):
        """The residual connection: ``x + part(norm(x))``, or ``norm(x + part(x))``."""
        if self.norm_first:
            change, weights = part(norm(x))
            return x + change, weights
        change, weights = part(x)
        return norm(x + change), weights

    def step(self, x, keys, values, at, noted=None, memory_mask=None):
        """One step with a cache.

        Args:
            x: [B, 1, D], the step at position ``at``.
            keys, values: [B, H, C, D/H], filled before ``at``.
            noted: keys and values of the memory, for a block with cross-attention.

        Returns:
            Output [B, 1, D], and the cache with this step in it.
        """
        cache = []

        def look(x):
            new = self.attention.keys_and_values(x)
            cache.extend(
                ops.slice_update(old, (0, 0, at, 0), part) for old, part in zip((keys, values), new, strict=True)
            )
            return self.attention.look(x, *cache, ops.arange(keys.shape[2]) <= at)

        return self._through(x, look, noted, memory_mask)[0], *cache

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "hidden_dim": self.hidden_dim,
            "intermediate_dim": self.intermediate_dim,
            "dropout": self.dropout_rate,
            "norm_first": self.norm_first,
            "cross_attention": self.cross_attention is not None,
            "epsilon": self.epsilon,
            **_starts(self),
        }


@keras.saving.register_keras_serializable("aigc_course")
class Transformer(Translator):
    """Encoder and decoder of blocks for texts (Vaswani et al., 2017), trained and used like ``Seq2Seq``.

    Called with ``(source_ids [B, S], decoder_ids [B, T])`` it gives logits [B, T, V]: row t scores target token t.

    Args:
        source_vocabulary, target_vocabulary: ``Vocabulary`` of each side; saved and restored with the model.
        num_layers: blocks of the encoder, and of the decoder.
        num_heads, hidden_dim, intermediate_dim, norm_first: of every block.
        dropout: of every block, and behind the embeddings.
        positions: False leaves out where a token stands: the encoder then sees a bag of tokens.
        word_dropout: share of source tokens replaced by UNKNOWN in training, so that the model has met it.
        max_source_length, max_target_length: most tokens of a text, not counting START and END.
        seed: of word dropout and of the dropout behind the embeddings; that of the blocks follows
            ``keras.utils.set_random_seed``.

    Raises:
        TypeError: a side that is no ``Vocabulary``.
        ValueError: a number out of range.
    """

    plain = ("num_layers", "num_heads", "hidden_dim", "intermediate_dim", "norm_first", "positions")
    attention = True

    def __init__(
        self,
        source_vocabulary,
        target_vocabulary,
        *,
        num_layers=2,
        num_heads=4,
        hidden_dim=128,
        intermediate_dim=None,
        dropout=0.0,
        norm_first=True,
        positions=True,
        word_dropout=0.0,
        max_source_length=48,
        max_target_length=24,
        seed=0,
        **options,
    ):
        super().__init__(**options)
        if not isinstance(num_layers, int | np.integer) or num_layers < 1 or hidden_dim % 2:
            raise ValueError(f"num_layers is 1 or more and hidden_dim even, not {num_layers} and {hidden_dim}.")
        if not all(0 <= rate < 1 for rate in (dropout, word_dropout)):
            raise ValueError(f"dropout and word_dropout lie in [0, 1), not {dropout} and {word_dropout}.")
        self._begin(source_vocabulary, target_vocabulary, max_source_length, max_target_length, word_dropout, seed)
        self.num_layers, self.num_heads, self.hidden_dim = num_layers, num_heads, hidden_dim
        self.intermediate_dim, self.norm_first, self.positions = intermediate_dim, norm_first, positions
        self.dropout_rate = dropout
        self._make_layers()
        self._finish()

    def _make_layers(self):
        sizes = (self.num_heads, self.hidden_dim, self.intermediate_dim, self.dropout_rate, self.norm_first)
        table = lambda side: keras.layers.Embedding(len(side), self.hidden_dim)  # noqa: E731
        self.source_embedding, self.target_embedding = table(self.source_vocabulary), table(self.target_vocabulary)
        longest = max(self.max_source_length, self.max_target_length) + 1
        self.position = SinusoidalPositions(longest) if self.positions else None
        self.dropout = keras.layers.Dropout(self.dropout_rate, seed=self.seed)
        numbers = range(self.num_layers)
        self.encoder_blocks = [TransformerBlock(*sizes, name=f"encoder_{number}") for number in numbers]
        self.decoder_blocks = [
            TransformerBlock(*sizes, cross_attention=True, name=f"decoder_{number}") for number in numbers
        ]
        norm = lambda: keras.layers.LayerNormalization(epsilon=EPSILON) if self.norm_first else None  # noqa: E731
        self.encoder_norm, self.decoder_norm = norm(), norm()
        self.output_layer = keras.layers.Dense(len(self.target_vocabulary), name="logits")

    def _embed(self, table, ids, start=0, training=False):  # [B, T] -> [B, T, D]
        """Embeddings times the root of D (section 3.4 of the paper), plus positions."""
        embedded = table(ids) * self.hidden_dim**0.5
        return self.dropout(self.position(embedded, start=start) if self.positions else embedded, training=training)

    def read(self, source_ids, training=False):  # [B, S] -> [B, S, D], list of [B, H, S, S]
        """The encoder's note on every source step, and the weights of its blocks."""
        source_ids = ops.convert_to_tensor(source_ids, "int32")
        mask = self.padding_mask(source_ids)[:, None, None, :]
        x = self._embed(self.source_embedding, self._drop_words(source_ids, training), training=training)
        found = []
        for block in self.encoder_blocks:
            x, weights, _ = block(x, attention_mask=mask, return_weights=True, training=training)
            found.append(weights)
        return (self.encoder_norm(x) if self.norm_first else x), found

    def decode(self, decoder_ids, memory, memory_mask, training=False):
        """[B, T], [B, S, D], [B, S] -> logits [B, T, V]; weights of every block at the target, and at the source."""
        causal, mask = causal_mask(ops.shape(decoder_ids)[1]), memory_mask[:, None, None, :]
        x = self._embed(self.target_embedding, decoder_ids, training=training)
        own, cross = [], []
        for block in self.decoder_blocks:
            x, weights, found = block(
                x,
                attention_mask=causal,
                memory=memory,
                memory_mask=mask,
                return_weights=True,
                training=training,
            )
            own.append(weights)
            cross.append(found)
        return self._to_logits(x), own, cross

    def _to_logits(self, x):
        return self._possible(self.output_layer(self.decoder_norm(x) if self.norm_first else x))

    def logits_and_weights(self, source_ids, decoder_ids, training=False):
        """[B, S], [B, T] -> logits [B, T, V] and mean weights of the last block at the source [B, T, S]."""
        memory, _ = self.read(source_ids, training)
        logits, _, cross = self.decode(decoder_ids, memory, self.padding_mask(source_ids), training)
        return logits, ops.mean(cross[-1], axis=1)

    def attention_maps(self, sources, targets):
        """Weights of all blocks and heads for texts and their translations, as NumPy arrays.

        Returns:
            Dictionary of ``"encoder"`` [N, L, H, S, S], ``"decoder"`` [N, L, H, T, T] and ``"cross"`` [N, L, H, T, S].
        """
        (source_ids, decoder_ids), _ = self.arrays(sources, targets)
        memory, encoder = self.read(source_ids)
        _, own, cross = self.decode(decoder_ids, memory, self.padding_mask(source_ids))
        found = {"encoder": encoder, "decoder": own, "cross": cross}
        return {name: np.stack([ops.convert_to_numpy(part) for part in parts], axis=1) for name, parts in found.items()}

    # ------------------------------------------------------------------ writing, with a cache

    def encode(self, source_ids, training=False):
        """What decoding needs of the source, made once: keys and values of every decoder block, [B, S, 2 L D].

        The states are the position [B] and an empty cache of each decoder block, two [B, H, T, D/H].
        """
        memory, _ = self.read(source_ids, training)
        parts = [
            layer(memory)
            for block in self.decoder_blocks
            for layer in (block.cross_attention.key, block.cross_attention.value)
        ]
        rows = ops.shape(source_ids)[0]
        cache = (rows, self.num_heads, self.max_target_length + 1, self.hidden_dim // self.num_heads)
        caches = [ops.zeros(cache, self.compute_dtype) for _ in range(2 * self.num_layers)]
        return ops.concatenate(parts, axis=-1), [ops.zeros((rows,), "int32"), *caches]

    def step(self, tokens, states, memory, mask):  # [B], list, [B, S, 2 L D], [B, S] -> [B, V], list
        """One step of decoding: logits of the next token, and the cache with this one in it."""
        positions, *cache = states
        at, mask = positions[0], mask[:, None, None, :]
        x = self._embed(self.target_embedding, ops.expand_dims(tokens, 1), at)
        parts = ops.split(memory, 2 * self.num_layers, axis=-1)
        filled = []
        for number, block in enumerate(self.decoder_blocks):
            pair = slice(2 * number, 2 * number + 2)
            noted = [block.cross_attention.split(part) for part in parts[pair]]
            x, *new = block.step(x, *cache[pair], at, noted, mask)
            filled += new
        return self._to_logits(x)[:, 0], [positions + 1, *filled]


def _starts(layer):
    """A layer's initialisers as they stand in its settings."""
    given = {name: getattr(layer, name) for name in ("kernel_initializer", "output_initializer")}
    is_object = lambda start: isinstance(start, keras.initializers.Initializer)  # noqa: E731
    return {name: keras.initializers.serialize(start) if is_object(start) else start for name, start in given.items()}


def fresh(initializer):
    """``initializer`` with random numbers of its own: one object gives the same ones at every call."""
    return initializer.clone() if isinstance(initializer, keras.initializers.Initializer) else initializer
