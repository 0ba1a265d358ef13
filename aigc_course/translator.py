"""What every model that maps a text to a text can do: arrays for training, loss, translation, scores.

``Seq2Seq`` (chapter 06) and ``Transformer`` (chapter 09) bring the network: how a source is read, one step of writing.

Shapes: B batch, N texts, S source steps, T target steps, V target vocabulary, K beam.   Log-probabilities in nats.
"""

from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from aigc_course.attention import NEVER
from aigc_course.sampling import usable
from aigc_course.seq2seq_decoding import DecodingFunctions
from aigc_course.token_losses import hits, masked_mean, token_cross_entropy
from aigc_course.vocabulary import END, PAD, START, UNKNOWN, Vocabulary, demand_texts

BATCH = 128  # texts that are translated at once
NUM_ALTERNATIVES = 5
SHARED = ("word_dropout", "max_source_length", "max_target_length", "seed")  # arguments of every translator


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


class Translator(keras.Model):
    """Base of the models that read a source and write a target, token by token.

    A subclass calls ``_begin`` first and ``_finish`` last in its constructor, names its arguments in ``plain``, and has

    - ``encode(source_ids [B, S], training)`` -> memory [B, S, ...] and a list of states [B, ...];
    - ``step(tokens [B], states, memory, mask [B, S])`` -> logits [B, V] and the new states;
    - ``logits_and_weights(source_ids, decoder_ids, training)`` -> logits [B, T, V] and weights [B, T, S] or None;
    - ``attention``: False if there are no weights.
    """

    impossible = (PAD, START)  # ids that are never written
    plain = ()

    def _begin(self, source_vocabulary, target_vocabulary, max_source_length, max_target_length, word_dropout, seed):
        """What every translator keeps.

        TypeError for a side that is no ``Vocabulary``, ValueError for lengths out of range.
        """
        if not all(isinstance(side, Vocabulary) for side in (source_vocabulary, target_vocabulary)):
            raise TypeError("Source and target need a Vocabulary each: Vocabulary(tokens).")
        lengths = max_source_length, max_target_length
        if not all(isinstance(length, int | np.integer) and length >= 1 for length in lengths):
            raise ValueError(f"max_source_length and max_target_length are whole numbers from 1 on, not {lengths}.")
        self.source_vocabulary, self.target_vocabulary = source_vocabulary, target_vocabulary
        self.max_source_length, self.max_target_length = max_source_length, max_target_length
        self.word_dropout, self.seed = word_dropout, seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        forbidden = np.zeros(len(target_vocabulary), "float32")
        forbidden[list(self.impossible)] = NEVER
        self._forbidden = forbidden

    def _finish(self):
        """Metrics, decoding, and the weights, which are made by a first call."""
        self.trackers = [keras.metrics.Mean(name=name) for name in ("accuracy", "padded_accuracy")]
        self._functions = DecodingFunctions(self)
        self((np.zeros((1, 2), "int32"), np.zeros((1, 2), "int32")))

    # ------------------------------------------------------------------ network

    def padding_mask(self, ids):  # [B, S] -> [B, S]
        """True where ``ids`` holds a token, False where it holds padding."""
        return ops.not_equal(ids, PAD)

    def call(self, inputs, training=False):
        """Logits [B, T, V] for ``(source_ids [B, S], decoder_ids [B, T])``; decoder_ids start with START."""
        return self.logits_and_weights(*inputs, training=training)[0]

    def _drop_words(self, source_ids, training):  # [B, S] -> [B, S]
        """In training, UNKNOWN in place of a share ``word_dropout`` of the tokens."""
        if not (training and self.word_dropout):
            return source_ids
        chance = keras.random.uniform(ops.shape(source_ids), seed=self.seed_generator)
        dropped = ops.logical_and(chance < self.word_dropout, source_ids > END)
        return ops.where(dropped, UNKNOWN, source_ids)

    def _possible(self, logits):
        """``logits`` without the ids that are never written."""
        return ops.cast(logits, "float32") + ops.convert_to_tensor(self._forbidden)

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
            raise ValueError("A translator takes no sample weights; padding is left out by itself.")
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
                beyond ``sampling.COLDEST`` and ``HOTTEST`` nothing changes.
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
        draws = np.random.default_rng(seed)
        parts = [np.zeros((0, self.max_target_length + 1), "int32")]
        for start in range(0, len(source_ids), BATCH):
            rows = source_ids[start : start + BATCH]
            batch = self._fixed_size(rows)
            if temperature > 0:
                chance = draws.random((self.max_target_length + 1, len(batch)), "float32")
                ids = self._functions.sampled(batch, chance, usable(temperature))
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
            **{name: getattr(self, name) for name in (*SHARED, *self.plain)},
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


def _shifted(ids):  # [N, T] -> [N, T]
    """What the decoder reads when it has to write ``ids``: START and all but the last, without END."""
    given = np.concatenate([np.full((len(ids), 1), START, "int32"), ids[:, :-1]], axis=1)
    return np.where(given == END, PAD, given)


def _check_decoding(beam_width, temperature, length_penalty):
    if not 1 <= beam_width < np.inf or beam_width != int(beam_width):
        raise ValueError(f"beam_width is a whole number from 1 on, not {beam_width}.")
    if not 0 <= temperature < np.inf:
        raise ValueError(f"temperature is 0 or a positive number, not {temperature}.")
    if temperature > 0 and beam_width > 1:
        raise ValueError("Draw with a temperature or search with a beam, not both: set one of them back.")
    if not np.isfinite(length_penalty):
        raise ValueError(f"length_penalty is a finite number, not {length_penalty}.")
