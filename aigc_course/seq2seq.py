"""Sequence to sequence with attention (Sutskever et al., 2014; Bahdanau et al., 2015; Luong et al., 2015).

Shapes: B batch, N texts, S source steps, T target steps, H width, E embedding, V target vocabulary.
Taught in chapters/06_seq2seq.   Corrects A8, A9, A10, A11, A12, A24.

``log p(y | x) = sum over t of log p(y_t | y_1 ... y_(t-1), x)``: the encoder reads x, the decoder is a language model
of y that may look at what the encoder noted. Log-probabilities are in nats; padding takes part in nothing. How a model
is fed, scored and made to write stands in ``translator``.
"""

import keras
from keras import ops

from aigc_course.attention import AdditiveAttention, DotProductAttention
from aigc_course.token_losses import (
    hits,
    masked_accuracy,
    masked_cross_entropy,
    masked_mean,
    padded_accuracy,
    token_cross_entropy,
)
from aigc_course.translator import BATCH, Translation, Translator

__all__ = [
    "BATCH",
    "Seq2Seq",
    "Translation",
    "hits",
    "masked_accuracy",
    "masked_cross_entropy",
    "masked_mean",
    "padded_accuracy",
    "token_cross_entropy",
]

SCORES = ("general", "dot", "additive")
CELLS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}


@keras.saving.register_keras_serializable("aigc_course")
class Seq2Seq(Translator):
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

    plain = ("attention", "score", "cell", "hidden_dim", "embedding_dim", "bidirectional")

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
        _check_options(score, cell, hidden_dim, embedding_dim, bidirectional, (dropout, word_dropout))
        self._begin(source_vocabulary, target_vocabulary, max_source_length, max_target_length, word_dropout, seed)
        self.attention, self.score, self.cell, self.bidirectional = bool(attention), score, cell, bool(bidirectional)
        self.hidden_dim, self.embedding_dim, self.dropout_rate = hidden_dim, embedding_dim, dropout
        self._make_layers()
        self._finish()

    def _make_layers(self):
        layer = CELLS[self.cell]
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

    # ------------------------------------------------------------------ network

    def encode(self, source_ids, training=False):  # [B, S] -> [B, S, H], list of [B, H]
        """The encoder's note on every source step, and its last state (for an LSTM h and c)."""
        source_ids = ops.convert_to_tensor(source_ids, "int32")
        mask = self.padding_mask(source_ids)
        embedded = self.dropout(self.source_embedding(self._drop_words(source_ids, training)), training=training)
        memory, *states = self.encoder(embedded, mask=mask, training=training)
        if self.bidirectional:
            half = len(states) // 2
            states = [ops.concatenate(pair, -1) for pair in zip(states[:half], states[half:], strict=True)]
        return memory, states

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
        return self._possible(self.output_layer(mixed)), weights

    def step(self, tokens, states, memory, mask):  # [B], list of [B, H], [B, S, H], [B, S] -> [B, V], list of [B, H]
        """One step of decoding: logits of the next token and the decoder's new state."""
        output, states = self.decoder.cell(self.target_embedding(tokens), states, training=False)
        logits, _ = self._read_out(ops.expand_dims(output, 1), memory, mask)
        return logits[:, 0], states


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
