"""Sequence to sequence with attention (Sutskever et al., 2014; Bahdanau et al., 2015; Luong et al., 2015).

Shapes: B batch, N texts, S source steps, T target steps, H width, E embedding, V target vocabulary, K beam.
Taught in chapters/06_seq2seq.   Corrects A8, A9, A10, A11, A12, A24.

``log p(y | x) = sum over t of log p(y_t | y_1 ... y_(t-1), x)``: the encoder reads x, the decoder is a language model
of y that may look at what the encoder noted. Log-probabilities are in nats; padding takes part in nothing.
"""

from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from aigc_course.attention import NEVER, AdditiveAttention, DotProductAttention
from aigc_course.seq2seq_decoding import DecodingFunctions
from aigc_course.vocabulary import END, PAD, START, UNKNOWN, Vocabulary, demand_texts

SCORES = ("general", "dot", "additive")
CELLS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}
BATCH = 128  # texts that are translated at once
NUM_ALTERNATIVES = 5
COLDEST, HOTTEST = 1e-30, 1e6  # temperatures at which float32 still holds a logit, and NEVER is still never


def masked_mean(values, mask):  # [B, T] x 2 -> []
    """Mean of ``values`` where ``mask`` is True; 0 if it is nowhere."""
    mask = ops.cast(mask, values.dtype)
    return ops.sum(values * mask) / ops.maximum(ops.sum(mask), 1)


def token_cross_entropy(target_ids, logits):  # [B, T], [B, T, V] -> [B, T]
    """``-log p(target)`` of every step, in nats, padding included."""
    return ops.sparse_categorical_crossentropy(target_ids, logits, from_logits=True)


def masked_cross_entropy(target_ids, logits):  # [B, T], [B, T, V] -> []
    """Mean of ``-log p(target)`` over the tokens that are not padding, in nats."""
    return masked_mean(token_cross_entropy(target_ids, logits), ops.not_equal(target_ids, PAD))


def hits(target_ids, logits):  # [B, T], [B, T, V] -> [B, T] of 0 and 1
    """1 where the most probable token is the target."""
    return ops.cast(ops.equal(ops.cast(ops.argmax(logits, axis=-1), "int32"), target_ids), "float32")


def masked_accuracy(target_ids, logits):  # [B, T], [B, T, V] -> []
    """Share of target tokens that are the most probable one; padding does not count."""
    return masked_mean(hits(target_ids, logits), ops.not_equal(target_ids, PAD))


def padded_accuracy(target_ids, logits):  # [B, T], [B, T, V] -> []
    """The accuracy that counts a padding step as correct, as a model does that learned to predict padding."""
    right = ops.where(ops.equal(target_ids, PAD), 1.0, hits(target_ids, logits))
    return ops.mean(right)


@dataclass(frozen=True)
class Translation:
    """One translated text and how it came about.

    Attributes:
        source, text: the text given and the text made.
        source_tokens, tokens: their tokens; the last one is END, ``⊣`` (in ``tokens`` only if the decoder wrote it).
        probabilities: [T], of each token given those before it.
        attention: [T, S], weight of each source token, rows sum to 1; None without attention.
        log_probability: of the whole text, in nats.
        alternatives: for each step the five most probable tokens as pairs (token, probability), best first.
    """

    source: str
    text: str
    source_tokens: list[str]
    tokens: list[str]
    probabilities: np.ndarray
    attention: np.ndarray | None
    log_probability: float
    alternatives: list[list[tuple[str, float]]]


@keras.saving.register_keras_serializable("aigc_course")
class Seq2Seq(keras.Model):
    """Encoder and decoder for texts, trained by ``fit(*model.arrays(sources, targets))``.

    Called with ``(source_ids [B, S], decoder_ids [B, T])`` it gives logits [B, T, V]: row t scores target token t.

    Args:
        source_vocabulary, target_vocabulary: ``Vocabulary`` of each side; saved and restored with the model.
        attention: False leaves the decoder only the encoder's last state.
        score: ``"general"``, ``"dot"`` or ``"additive"``.
        cell: ``"lstm"`` or ``"gru"``.
        hidden_dim: H, even if bidirectional (half of it reads each way).
        embedding_dim: E.
        bidirectional: the encoder reads from both ends.
        dropout: share of embeddings and of the decoder's output set to 0 in training.
        word_dropout: share of source tokens replaced by UNKNOWN in training, so that the model has met it.
        max_source_length, max_target_length: most tokens of a text, not counting START and END.

    Raises:
        TypeError: a side that is no ``Vocabulary``.
        ValueError: an unknown score or cell, or a number out of range.
    """

    impossible = (PAD, START)  # ids that are never written

    def __init__(
        self,
        source_vocabulary,
        target_vocabulary,
        attention=True,
        *,
        score="general",
        cell="lstm",
        hidden_dim=128,
        embedding_dim=64,
        bidirectional=True,
        dropout=0.0,
        word_dropout=0.0,
        max_source_length=48,
        max_target_length=24,
        seed=0,
        **options,
    ):
        super().__init__(**options)
        if not all(isinstance(side, Vocabulary) for side in (source_vocabulary, target_vocabulary)):
            raise TypeError("Source and target need a Vocabulary each: Vocabulary(tokens).")
        _check_options(score, cell, hidden_dim, embedding_dim, bidirectional, (dropout, word_dropout))
        self.source_vocabulary, self.target_vocabulary = source_vocabulary, target_vocabulary
        self.attention, self.score, self.cell, self.bidirectional = bool(attention), score, cell, bool(bidirectional)
        self.hidden_dim, self.embedding_dim = hidden_dim, embedding_dim
        self.dropout_rate, self.word_dropout, self.seed = dropout, word_dropout, seed
        self.max_source_length, self.max_target_length = max_source_length, max_target_length
        self._make_layers()
        self.trackers = [keras.metrics.Mean(name=name) for name in ("accuracy", "padded_accuracy")]
        self._functions = DecodingFunctions(self)
        self((np.zeros((1, 2), "int32"), np.zeros((1, 2), "int32")))

    def _make_layers(self):
        layer = CELLS[self.cell]
        self.seed_generator = keras.random.SeedGenerator(self.seed)
        self.source_embedding = keras.layers.Embedding(len(self.source_vocabulary), self.embedding_dim)
        self.target_embedding = keras.layers.Embedding(len(self.target_vocabulary), self.embedding_dim)
        half = self.hidden_dim // 2
        self.encoder = (
            keras.layers.Bidirectional(layer(half, return_sequences=True, return_state=True))
            if self.bidirectional
            else layer(self.hidden_dim, return_sequences=True, return_state=True)
        )
        self.decoder = layer(self.hidden_dim, return_sequences=True, return_state=True)
        self.attend = None
        if self.attention:
            self.attend = (
                AdditiveAttention(self.hidden_dim)
                if self.score == "additive"
                else DotProductAttention(self.hidden_dim, project=self.score == "general")
            )
        self.mix = keras.layers.Dense(self.hidden_dim, "tanh", name="mix")
        self.output_layer = keras.layers.Dense(len(self.target_vocabulary), name="logits")
        self.dropout = keras.layers.Dropout(self.dropout_rate, seed=self.seed)
        forbidden = np.zeros(len(self.target_vocabulary), "float32")
        forbidden[list(self.impossible)] = NEVER
        self._forbidden = forbidden

    # ------------------------------------------------------------------ network

    def padding_mask(self, ids):  # [B, S] -> [B, S]
        """True where ``ids`` holds a token, False where it holds padding."""
        return ops.not_equal(ids, PAD)

    def encode(self, source_ids, training=False):  # [B, S] -> [B, S, H], list of [B, H]
        """The encoder's note on every source step, and its last state (for an LSTM h and c)."""
        source_ids = ops.convert_to_tensor(source_ids, "int32")
        mask = self.padding_mask(source_ids)
        if training and self.word_dropout:
            source_ids = self._drop_words(source_ids)
        embedded = self.dropout(self.source_embedding(source_ids), training=training)
        memory, *states = self.encoder(embedded, mask=mask, training=training)
        if self.bidirectional:
            half = len(states) // 2
            states = [ops.concatenate(pair, -1) for pair in zip(states[:half], states[half:], strict=True)]
        return memory, states

    def _drop_words(self, source_ids):
        chance = keras.random.uniform(ops.shape(source_ids), seed=self.seed_generator)
        dropped = ops.logical_and(chance < self.word_dropout, source_ids > END)
        return ops.where(dropped, UNKNOWN, source_ids)

    def call(self, inputs, training=False):
        """Logits [B, T, V] for ``(source_ids [B, S], decoder_ids [B, T])``; decoder_ids start with START."""
        return self.logits_and_weights(*inputs, training=training)[0]

    def logits_and_weights(self, source_ids, decoder_ids, training=False):
        """[B, S], [B, T] -> logits [B, T, V] and attention weights [B, T, S] (None without attention)."""
        source_ids = ops.convert_to_tensor(source_ids, "int32")
        memory, states = self.encode(source_ids, training)
        embedded = self.dropout(self.target_embedding(decoder_ids), training=training)
        outputs = self.decoder(embedded, initial_state=states, training=training)[0]
        return self._read_out(outputs, memory, self.padding_mask(source_ids), training)

    def _read_out(self, outputs, memory, mask, training=False):  # [B, T, H], [B, S, H], [B, S] -> [B, T, V], [B, T, S]
        weights = None
        if self.attend is not None:
            context, weights = self.attend(outputs, memory, mask)
            outputs = ops.concatenate([outputs, context], -1)
        mixed = self.dropout(self.mix(outputs), training=training)
        return self.output_layer(mixed) + ops.convert_to_tensor(self._forbidden), weights

    def step(self, tokens, states, memory, mask):  # [B], list of [B, H], [B, S, H], [B, S] -> [B, V], list of [B, H]
        """One step of decoding: logits of the next token and the decoder's new state."""
        output, states = self.decoder.cell(self.target_embedding(tokens), states, training=False)
        logits, _ = self._read_out(ops.expand_dims(output, 1), memory, mask)
        return logits[:, 0], states

    # ------------------------------------------------------------------ training

    def arrays(self, sources, targets):
        """Texts as ``((source_ids [N, S], decoder_ids [N, T]), target_ids [N, T])`` for ``fit``.

        Sources end with END. The decoder reads START and then the target, and has to say the target and then END: at
        each step it is given the right past and asked for the next token (teacher forcing; Williams and Zipser, 1989).
        """
        sources, targets = demand_texts(sources), demand_texts(targets)
        if len(sources) != len(targets):
            raise ValueError(f"There are {len(sources)} sources and {len(targets)} targets.")
        limit = self.max_target_length + 1
        target_ids = self.target_vocabulary.encode(targets, limit, end=True)
        return (self._source_ids(sources), _shifted(target_ids)), target_ids

    def _source_ids(self, texts):
        return self.source_vocabulary.encode(texts, self.max_source_length + 1, end=True)

    @property
    def metrics(self):
        return [*super().metrics, *self.trackers]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Mean cross-entropy over the target tokens; steps for which ``padding_mask`` is False do not count.

        ValueError for sample weights, which would have no effect.
        """
        if sample_weight is not None:
            raise ValueError("Seq2Seq takes no sample weights; padding is left out by itself.")
        y = ops.convert_to_tensor(y, "int32")
        right, real = hits(y, y_pred), ops.not_equal(y, PAD)
        self.trackers[0].update_state(right, ops.cast(real, "float32"))
        self.trackers[1].update_state(ops.where(real, right, 1.0))
        return masked_mean(token_cross_entropy(y, y_pred), self.padding_mask(y))

    # ------------------------------------------------------------------ translation

    def translate(self, texts, beam_width=1, temperature=0.0, length_penalty=0.6, seed=0):
        """Translate a list of texts, in batches, each until all its texts have ended.

        Args:
            texts: N strings; a text without a token gives "".
            beam_width: 1 takes the most probable token at each step (greedy); K keeps the K best beginnings.
            temperature: above 0, tokens are drawn from ``softmax(logits / temperature)``, with ``beam_width`` 1 only;
                beyond COLDEST and HOTTEST nothing changes.
            length_penalty: alpha of ``log p / ((5 + length) / 6) ** alpha``, by which the beams are compared at the end
                (Wu et al., 2016, eq. 14; END counts, and a beam cut at the limit takes part as it stands); 0 compares
                log-probabilities, which favours short texts.
            seed: of the draws.

        Returns:
            N strings of at most ``max_target_length`` tokens.

        Raises:
            TypeError: one string in place of a list.
            CourseError: a text longer than ``max_source_length``.
            ValueError: a beam width, temperature or penalty that makes no sense.
        """
        texts = demand_texts(texts)
        ids = self._decode(texts, beam_width, temperature, length_penalty, seed)
        return [text if asked else "" for asked, text in zip(map(self._any, texts), self._texts(ids), strict=True)]

    def _any(self, text):
        return bool(self.source_vocabulary.split(text))

    def _texts(self, ids):
        return self.target_vocabulary.decode(ids)

    def _decode(self, texts, beam_width, temperature, length_penalty, seed):  # N texts -> [N, T]
        _check_decoding(beam_width, temperature, length_penalty)
        source_ids = self._source_ids(texts)
        draws, heat = np.random.default_rng(seed), np.float32(np.clip(temperature, COLDEST, HOTTEST))
        parts = [np.zeros((0, self.max_target_length + 1), "int32")]
        for start in range(0, len(source_ids), BATCH):
            rows = source_ids[start : start + BATCH]
            batch = self._fixed_size(rows)
            if temperature > 0:
                chance = draws.random((self.max_target_length + 1, len(batch)), "float32")
                ids = self._functions.sampled(batch, chance, heat)
            elif beam_width > 1:
                ids = self._functions.beam(batch, int(beam_width), length_penalty)
            else:
                ids = self._functions.greedy(batch)
            parts.append(ops.convert_to_numpy(ids)[: len(rows)])
        ids = np.concatenate(parts)
        ids[:, -1] = np.where(ids[:, -1] == END, END, PAD)  # a text that does not end is cut at the limit
        return ids

    def _fixed_size(self, source_ids):
        """``source_ids`` with padding to one of few shapes, so that a function is compiled for few of them."""
        rows, width = source_ids.shape
        size = 1 << (rows - 1).bit_length()
        fixed = np.full((size, self.max_source_length + 1), PAD, "int32")
        fixed[:rows, :width] = source_ids
        fixed[rows:, 0] = END
        return fixed

    def translate_in_detail(self, texts, beam_width=1, temperature=0.0, length_penalty=0.6, seed=0):
        """As ``translate``, but returns a list of ``Translation`` with probabilities and attention of every step."""
        texts = demand_texts(texts)
        ids = self._decode(texts, beam_width, temperature, length_penalty, seed)
        source_ids = self._source_ids(texts)
        log_probabilities, weights = self._teacher_forced(source_ids, _shifted(ids))
        return [
            self._detail(text, *rows)
            for text, *rows in zip(texts, source_ids, ids, log_probabilities, weights, strict=True)
        ]

    def _teacher_forced(self, source_ids, decoder_ids):
        """Log-probabilities [N, T, V] and weights (an array [N, T, S] or N times None), in fixed sizes."""
        parts, noted = [], []
        for start in range(0, len(source_ids), BATCH):
            rows, given = source_ids[start : start + BATCH], decoder_ids[start : start + BATCH]
            batch = self._fixed_size(rows)
            filled = np.full((len(batch), self.max_target_length + 1), PAD, "int32")
            filled[: len(given), : given.shape[1]] = given
            scores, weights = self._functions.forced(batch, filled)
            parts.append(ops.convert_to_numpy(scores)[: len(rows), : given.shape[1]])
            noted += [None] * len(rows) if weights is None else list(ops.convert_to_numpy(weights)[: len(rows)])
        return np.concatenate(parts) if parts else np.zeros((0, 1, 1)), noted

    def _detail(self, source, source_ids, ids, scores, weights):
        words, source_words = self.target_vocabulary.tokens, self.source_vocabulary.split(source)
        length = (ids != PAD).sum() if source_words else 0  # END counts
        chosen = ids[:length]
        log_probabilities = scores[np.arange(length), chosen]
        best = np.argsort(-scores[:length], axis=-1)[:, :NUM_ALTERNATIVES]
        alternatives = [
            [(words[number], float(np.exp(row[number]))) for number in numbers]
            for row, numbers in zip(scores[:length], best, strict=True)
        ]
        return Translation(
            source=source,
            text=self._texts(chosen[None])[0],
            source_tokens=[*source_words, self.source_vocabulary.tokens[END]],
            tokens=[words[number] for number in chosen],
            probabilities=np.exp(log_probabilities),
            attention=None if weights is None else weights[:length, : len(source_words) + 1],
            log_probability=float(log_probabilities.sum()),
            alternatives=alternatives,
        )

    def attention_weights(self, source_ids, decoder_ids):  # [B, S], [B, T] -> [B, T, S]
        """Weight of each source step for each target step; ValueError for a model without attention."""
        if not self.attention:
            raise ValueError("This model has no attention.")
        return ops.convert_to_numpy(self.logits_and_weights(source_ids, decoder_ids)[1])

    # ------------------------------------------------------------------ scores

    def log_likelihood(self, sources, targets):  # N texts x 2 -> [N]
        """``log p(target | source)`` in nats, END included."""
        (source_ids, decoder_ids), target_ids = self.arrays(sources, targets)
        scores, _ = self._teacher_forced(source_ids, decoder_ids)
        chosen = np.take_along_axis(scores.astype("float64"), target_ids[..., None], -1)[..., 0]
        return (chosen * (target_ids != PAD)).sum(-1)

    def exact_match(self, sources, targets, **options):
        """Share of texts whose translation is the target, character by character. ``options``: of ``translate``."""
        if not len(sources):
            raise ValueError("There is nothing to translate.")
        written = self.translate(sources, **options)
        return float(np.mean([made == right for made, right in zip(written, targets, strict=True)]))

    # ------------------------------------------------------------------ saving

    def get_config(self):
        """Every argument of the constructor, the vocabularies as lists of tokens."""
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            "source_vocabulary": self.source_vocabulary.get_config(),
            "target_vocabulary": self.target_vocabulary.get_config(),
            "dropout": self.dropout_rate,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config):
        """The untrained model of ``get_config``."""
        sides = {name: Vocabulary(**config[name]) for name in ("source_vocabulary", "target_vocabulary")}
        return cls(**{**config, **sides})


_PLAIN = (
    "attention", "score", "cell", "hidden_dim", "embedding_dim", "bidirectional", "word_dropout", "max_source_length",
    "max_target_length", "seed",
)  # fmt: skip


def _shifted(ids):  # [N, T] -> [N, T]
    """What the decoder reads when it has to write ``ids``: START and all but the last, without END."""
    given = np.concatenate([np.full((len(ids), 1), START, "int32"), ids[:, :-1]], axis=1)
    return np.where(given == END, PAD, given)


def _check_options(score, cell, hidden_dim, embedding_dim, bidirectional, rates):
    if score not in SCORES:
        raise ValueError(f"score must be one of {', '.join(SCORES)}, not {score!r}.")
    if cell not in CELLS:
        raise ValueError(f"cell must be one of {', '.join(CELLS)}, not {cell!r}.")
    if hidden_dim < 1 or embedding_dim < 1:
        raise ValueError(f"hidden_dim and embedding_dim must be positive, not {hidden_dim} and {embedding_dim}.")
    if bidirectional and hidden_dim % 2:
        raise ValueError(f"A bidirectional encoder needs an even hidden_dim, not {hidden_dim}.")
    if not all(0 <= rate < 1 for rate in rates):
        raise ValueError(f"dropout and word_dropout lie in [0, 1), not {rates}.")


def _check_decoding(beam_width, temperature, length_penalty):
    if not 1 <= beam_width < np.inf or beam_width != int(beam_width):
        raise ValueError(f"beam_width is a whole number from 1 on, not {beam_width}.")
    if not 0 <= temperature < np.inf:
        raise ValueError(f"temperature is 0 or a positive number, not {temperature}.")
    if temperature > 0 and beam_width > 1:
        raise ValueError("Draw with a temperature or search with a beam, not both: set one of them back.")
    if not np.isfinite(length_penalty):
        raise ValueError(f"length_penalty is a finite number, not {length_penalty}.")
