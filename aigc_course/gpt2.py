"""GPT-2 (Radford et al., 2019): a stack of Transformer blocks that predicts the next token.

Shapes: B batch, N rows, T tokens, P tokens of a prompt, D width, H heads, L blocks, V vocabulary, C context.
  Taught in chapters/10_gpt2.
Corrects C1, C2, C3, C4, C6, C14, C19, C20, C22, C29, C30, C36.

``log p(x_2 ... x_T | x_1) = sum over t from 2 to T of log p(x_t | x_1 ... x_(t-1))`` (the chain rule), in nats; x_1 is
given, for poems START.
"""

from collections import deque
from dataclasses import asdict, dataclass

import keras
import numpy as np
from keras import ops

from aigc_course.compiled import compiled
from aigc_course.gpt2_writing import Writing
from aigc_course.runtime import is_whole
from aigc_course.sampling import GREEDY
from aigc_course.token_losses import hits, masked_mean, token_cross_entropy
from aigc_course.transformer import EPSILON, TransformerBlock, causal_mask

DEVIATION = 0.02  # of the starting weights (Radford et al., 2018)
BATCH = 64  # rows that are scored at once


@dataclass(frozen=True)
class GPT2Config:
    """The sizes of a ``GPT2``.

    Attributes:
        vocabulary_size: V.
        context_length: C, most tokens that it sees at once.
        num_layers, num_heads, hidden_dim: blocks, heads and width D.
        intermediate_dim: width inside the feed-forward network, 4 times D unless told.
        dropout: in training, of the embeddings and of every part's output.
        padding_id: targets of this id do not count in the loss; None where every id is a token.
        epsilon: of the layer normalisations.

    Raises:
        ValueError: a number out of range.
    """

    vocabulary_size: int
    context_length: int = 1024
    num_layers: int = 12
    num_heads: int = 12
    hidden_dim: int = 768
    intermediate_dim: int | None = None
    dropout: float = 0.0
    padding_id: int | None = None
    epsilon: float = EPSILON

    def __post_init__(self):
        for name in ("vocabulary_size", "context_length", "num_layers", "num_heads", "hidden_dim"):
            if not is_whole(getattr(self, name)) or getattr(self, name) < 1:
                raise ValueError(f"{name} is a whole number from 1 on, not {getattr(self, name)!r}.")
        if self.hidden_dim % self.num_heads:
            raise ValueError(f"{self.num_heads} heads cannot share a width of {self.hidden_dim}.")
        if self.intermediate_dim is not None and (not is_whole(self.intermediate_dim) or self.intermediate_dim < 1):
            raise ValueError(f"intermediate_dim is a whole number from 1 on, or None, not {self.intermediate_dim!r}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout lies in [0, 1), not {self.dropout!r}.")
        if self.padding_id is not None and self.padding_id not in range(self.vocabulary_size):
            raise ValueError(f"padding_id lies in 0 to {self.vocabulary_size - 1} or is None, not {self.padding_id!r}.")
        if not 0 < self.epsilon < np.inf:
            raise ValueError(f"epsilon is a positive number, not {self.epsilon!r}.")


@keras.saving.register_keras_serializable("aigc_course")
class GPT2(keras.Model):
    """Token and position embeddings, pre-norm blocks, a last norm, and logits by the transposed token embedding.

    Called with ``token_ids`` [B, T] it gives logits [B, T, V]: row t scores token t + 1. Trained by
    ``fit(*shifted(token_ids))``.

    Args:
        config: ``GPT2Config``.
        seed: of the dropout.
    """

    def __init__(self, config, seed=0, **options):
        super().__init__(**options)
        self.config, self.seed = config, seed
        normal = lambda scale=1.0: keras.initializers.RandomNormal(stddev=DEVIATION * scale)  # noqa: E731
        self.token_embedding = keras.layers.Embedding(
            config.vocabulary_size, config.hidden_dim, embeddings_initializer=normal(), name="token_embedding"
        )
        self.position_embedding = keras.layers.Embedding(
            config.context_length, config.hidden_dim, embeddings_initializer=normal(), name="position_embedding"
        )
        self.dropout = keras.layers.Dropout(config.dropout, seed=seed)
        # Two parts of each block add to the stream: without the root its variance would grow with the depth.
        residual_scale = (2 * config.num_layers) ** -0.5
        self.blocks = [
            TransformerBlock(
                config.num_heads,
                config.hidden_dim,
                config.intermediate_dim,
                config.dropout,
                epsilon=config.epsilon,
                kernel_initializer=normal(),
                output_initializer=normal(residual_scale),
                name=f"block_{number}",
            )
            for number in range(config.num_layers)
        ]
        self.norm = keras.layers.LayerNormalization(epsilon=config.epsilon, name="norm")
        self.accuracy = keras.metrics.Mean(name="accuracy")
        self._writing, self._scores = Writing(self), None
        self(np.zeros((1, min(2, config.context_length)), "int32"))

    # ------------------------------------------------------------------ network

    def call(self, token_ids, padding_mask=None, training=False):  # [B, T], [B, T] -> [B, T, V]
        """``padding_mask`` is False at padding, on either side of a row; None where there is none, or only behind."""
        return self.to_logits(self.hidden(token_ids, padding_mask, training))

    def hidden(self, token_ids, padding_mask=None, training=False):  # [B, T] -> [B, T, D]
        """What the last block says, before the last norm."""
        x, mask = self._start(token_ids, padding_mask, training)
        for block in self.blocks:
            x = block(x, attention_mask=mask, training=training)
        return x

    def attention_weights(self, token_ids):  # [B, T] -> [B, L, H, T, T]
        """Weights of every block and head, as a NumPy array."""
        x, mask = self._start(token_ids)
        found = []
        for block in self.blocks:
            x, weights, _ = block(x, attention_mask=mask, return_weights=True)
            found.append(ops.convert_to_numpy(weights))
        return np.stack(found, axis=1)

    def _start(self, token_ids, padding_mask=None, training=False):
        """Embedded tokens [B, T, D] and the mask of the attentions."""
        length = ops.shape(token_ids)[1]
        self._demand_room(length)
        mask, positions = causal_mask(length), ops.arange(length, dtype="int32")
        if padding_mask is not None:
            padding_mask = ops.cast(padding_mask, "bool")
            mask = ops.logical_and(mask, padding_mask[:, None, None, :])
            positions = ops.maximum(ops.cumsum(ops.cast(padding_mask, "int32"), axis=1) - 1, 0)
        return self.dropout(self.embed(token_ids, positions), training=training), mask

    def _demand_room(self, length):
        """ValueError for more tokens than the context holds; a length that only the run will tell is let through."""
        if isinstance(length, int) and length > self.config.context_length:
            raise ValueError(f"{length} tokens are more than the context of {self.config.context_length}.")

    def embed(self, token_ids, positions):  # [B, T], [T] or [B, T] -> [B, T, D]
        """Token embedding plus position embedding; nothing is scaled."""
        return self.token_embedding(token_ids) + self.position_embedding(positions)

    def to_logits(self, hidden):  # [..., D] -> [..., V]
        """The last norm, and the scalar products with all token embeddings: the table is used twice (tied)."""
        return ops.matmul(self.norm(hidden), ops.transpose(self.token_embedding.embeddings))

    # ------------------------------------------------------------------ one step, with a cache

    def empty_cache(self, rows, length):
        """Keys and values of every block, to be filled: 2 L tensors [B, H, length, D/H] of zeros."""
        shape = (rows, self.config.num_heads, length, self.config.hidden_dim // self.config.num_heads)
        return [ops.zeros(shape, self.compute_dtype) for _ in range(2 * self.config.num_layers)]

    def filled_cache(self, token_ids, length):  # [B, P] -> list of [B, H, length, D/H]
        """The cache after P tokens, computed at once."""
        x, mask = self._start(token_ids)
        cache = []
        for block in self.blocks:
            cache += block.attention.keys_and_values(block.attention_norm(x))
            x = block(x, attention_mask=mask)
        width = ((0, 0), (0, 0), (0, length - token_ids.shape[1]), (0, 0))
        return [ops.pad(part, width) for part in cache]

    def step(self, tokens, cache, at):  # [B], list, [] -> [B, V], list
        """Logits after the token at position ``at``, and the cache with it; what the cache holds behind is not read."""
        x = self.embed(ops.expand_dims(tokens, 1), ops.expand_dims(at, 0))
        filled = []
        for number, block in enumerate(self.blocks):
            x, *new = block.step(x, *cache[2 * number : 2 * number + 2], at)
            filled += new
        return self.to_logits(x[:, 0]), filled

    # ------------------------------------------------------------------ training and scores

    @property
    def metrics(self):
        return [*super().metrics, self.accuracy]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Mean cross-entropy over the targets that are not padding, in nats; ValueError for sample weights."""
        if sample_weight is not None:
            raise ValueError("GPT2 takes no sample weights; padding is left out by itself.")
        y = ops.convert_to_tensor(y, "int32")
        counts = self._counts(y)
        self.accuracy.update_state(hits(y, y_pred), ops.cast(counts, "float32"))
        return masked_mean(token_cross_entropy(y, y_pred), counts)

    def _counts(self, targets):
        if self.config.padding_id is None:
            return ops.ones_like(targets, dtype="bool")
        return ops.not_equal(targets, self.config.padding_id)

    def log_probabilities(self, token_ids):  # [N, T] -> [N, T - 1]
        """``log p`` of every token but the first given those before it, in nats, 0 at padding; a NumPy array.

        ValueError for ids out of range, or rows of more than C + 1 tokens.
        """
        token_ids = _checked(np.asarray(token_ids), self.config.vocabulary_size)
        self._demand_room(token_ids.shape[1] - 1)
        if self._scores is None:
            self._scores = compiled(self._score, self)
        parts = [np.zeros((0, token_ids.shape[1] - 1), "float32")]
        for start in range(0, len(token_ids), BATCH):
            rows = token_ids[start : start + BATCH]
            size = 1 << (len(rows) - 1).bit_length()
            batch = np.concatenate([rows, np.repeat(rows[:1], size - len(rows), axis=0)])
            parts.append(ops.convert_to_numpy(self._scores(batch))[: len(rows)])
        return np.concatenate(parts)

    def _score(self, token_ids):
        targets = token_ids[:, 1:]
        found = -token_cross_entropy(targets, self(token_ids[:, :-1]))
        return ops.where(self._counts(targets), found, 0.0)

    def log_likelihood(self, token_ids):  # [N, T] -> [N]
        """``log p`` of every row given its first token, in nats; padding does not count."""
        return self.log_probabilities(token_ids).astype("float64").sum(-1)

    def next_logits(self, token_ids):  # [B, T] -> [B, V]
        """Logits of what comes after the rows, as a NumPy array; rows longer than the context lose their beginning."""
        token_ids = _checked(np.asarray(token_ids), self.config.vocabulary_size)
        return self._writing.next_logits(token_ids[:, -self.config.context_length :])

    # ------------------------------------------------------------------ writing

    def generate(self, token_ids, max_new_tokens, sampler=GREEDY, seed=0, cached=True, end_id=None, forbidden=()):
        """Write on, token by token, in one compiled loop.

        Args:
            token_ids: B prompts, [B, T] or a list of rows of unequal lengths, each with one token at least. -1 stands
                for a token that is left to the model (not the first), so that later ones can be given.
            max_new_tokens: tokens to write behind each prompt; 0 fills in only what was left open.
            sampler: ``sampling.Sampler``, greedy unless told; its repetition penalty is on the tokens that are read.
            seed: of the draws, a whole number from 0 on or several. A row's text depends on its prompt, its place among
                the rows and the seed, not on the other rows.
            cached: keep the keys and values of what was read; without, every step reads the whole text again. The
                tokens are the same, but for rounding where two logits are equal.
            end_id: a row ends with this token, once it has been written behind the prompt.
            forbidden: ids that are never written.

        What does not fit into the context C: the token in column t is predicted from the columns s to t - 1 with s = 0
        as long as t <= C; then s is the smallest multiple of max(C // 2, 1) with t - s <= C: when the context is full
        its older half is forgotten, and the rest is read again from position 0.

        Returns:
            List of B int32 arrays: the prompt, and what was written up to ``end_id``.

        Raises:
            ValueError: no prompt, an empty one, ids out of range (``end_id`` too), or a number that makes no sense.
        """
        steps = self._writing.write(token_ids, max_new_tokens, sampler, seed, cached, end_id, forbidden)
        return deque(steps, maxlen=1)[0]

    def stream(
        self, token_ids, max_new_tokens, sampler=GREEDY, seed=0, cached=True, end_id=None, forbidden=(), every=1
    ):
        """As ``generate``, but yields the rows as they are after every ``every`` columns and where the window moves."""
        yield from self._writing.write(token_ids, max_new_tokens, sampler, seed, cached, end_id, forbidden, every)

    # ------------------------------------------------------------------ saving

    def get_config(self):
        """The sizes, the seed and the name."""
        return {**asdict(self.config), "seed": self.seed, "name": self.name}

    @classmethod
    def from_config(cls, config):
        """The untrained model of ``get_config``."""
        sizes = dict(config)
        seed, name = sizes.pop("seed", 0), sizes.pop("name", None)
        return cls(GPT2Config(**sizes), seed=seed, name=name)


def shifted(token_ids):  # [N, T] -> [N, T - 1], [N, T - 1]
    """Inputs and targets for ``fit``: each target is the token one step later.

    ValueError for anything but whole numbers [N, T] with T from 2 on.
    """
    token_ids = np.asarray(token_ids)
    if token_ids.ndim != 2 or token_ids.shape[1] < 2 or token_ids.dtype.kind not in "iu":
        raise ValueError(f"Pass whole numbers [N, T] with T from 2 on, not {token_ids.dtype} {token_ids.shape}.")
    token_ids = token_ids.astype("int32")
    return token_ids[:, :-1], token_ids[:, 1:]


def _checked(token_ids, vocabulary_size):
    if token_ids.ndim != 2 or token_ids.shape[1] < 1 or token_ids.dtype.kind not in "iu":
        raise ValueError(f"Pass whole numbers [N, T] with T from 1 on, not {token_ids.dtype} {token_ids.shape}.")
    if token_ids.size and not 0 <= token_ids.min() <= token_ids.max() < vocabulary_size:
        raise ValueError(f"Token ids lie in 0 to {vocabulary_size - 1}.")
    return token_ids.astype("int32")


def load_hugging_face(path):
    """A ``GPT2`` and its tokeniser from a checkpoint in Hugging Face's format.

    Args:
        path: folder with ``config.json``, ``model.safetensors`` and, for the tokeniser, ``vocab.json`` and
            ``merges.txt``; or a name on the hub such as ``"openai-community/gpt2"``, where the package
            ``huggingface_hub`` and a network are at hand.

    Returns:
        ``(model, tokeniser)``: a ``GPT2`` and a ``bpe.ByteLevelBPE``, or None where the vocabulary files are missing.

    Raises:
        CourseError: what is missing, damaged, of another architecture, or of a wrong shape.
    """
    from aigc_course.hugging_face import read_folder

    return read_folder(path)
