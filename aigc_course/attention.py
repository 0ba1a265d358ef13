"""Attention: a query looks at every step of a memory and takes a weighted mean of it.

Shapes: B batch, S memory steps, T query steps, D width, E width of the values.
  Taught in chapters/06_seq2seq and chapters/09_transformer.
"""

import keras
from keras import ops

NEVER = -1e9  # a score or logit whose probability is 0


def dot_product_attention(queries, memory, mask):  # [B, T, D], [B, S, D], [B, S] -> [B, T, D], [B, T, S]
    """``weights = softmax(queries . memory)`` over the source steps, ``context = weights . memory`` (Luong et al.,
    2015, eq. 7 and 8, score "dot"). Steps where ``mask`` is False get the weight 0."""
    return attend(ops.matmul(queries, ops.swapaxes(memory, 1, 2)), memory, mask)


def attend(scores, memory, mask):  # [B, T, S], [B, S, D], [B, S] -> [B, T, D], [B, T, S]
    """Context vectors and the weights that made them."""
    weights = ops.softmax(_masked(scores, ops.expand_dims(mask, 1)), axis=-1)
    return ops.matmul(weights, memory), weights


def scaled_dot_product_attention(queries, keys, values, mask=None):  # [..., T, D], [..., S, D], [..., S, E]
    """``softmax(Q K^T / sqrt(D)) V`` (Vaswani et al., 2017, eq. 1) and the weights: [..., T, E], [..., T, S].

    Args:
        mask: boolean, broadcast to [..., T, S]; where it is False a key is not looked at. None for all keys. A query
            that may look at nothing looks at all alike.
    """
    scores = ops.matmul(queries, ops.swapaxes(keys, -1, -2)) / keys.shape[-1] ** 0.5
    if mask is not None:
        scores = _masked(scores, mask)
    weights = ops.softmax(scores, axis=-1)
    return ops.matmul(weights, values), weights


def _masked(scores, mask):
    """``scores`` where ``mask`` is True, else one whose probability is 0; float16 ends at -65,504."""
    half = keras.backend.standardize_dtype(scores.dtype) == "float16"
    return ops.where(mask, scores, -3e4 if half else NEVER)


@keras.saving.register_keras_serializable("aigc_course")
class DotProductAttention(keras.layers.Layer):
    """``dot_product_attention``; with ``project`` the queries pass a matrix first (Luong's score "general")."""

    def __init__(self, units, project=False, **options):
        super().__init__(**options)
        self.project = keras.layers.Dense(units, use_bias=False, name="project") if project else None

    def call(self, queries, memory, mask):  # [B, T, D], [B, S, D], [B, S] -> [B, T, D], [B, T, S]
        return dot_product_attention(self.project(queries) if self.project else queries, memory, mask)


@keras.saving.register_keras_serializable("aigc_course")
class AdditiveAttention(keras.layers.Layer):
    """``score = v . tanh(W query + U memory + b)`` (Bahdanau et al., 2015, appendix A.1.2, where b is left out)."""

    def __init__(self, units, **options):
        super().__init__(**options)
        self.query = keras.layers.Dense(units, use_bias=False, name="query")
        self.key = keras.layers.Dense(units, name="key")
        self.score = keras.layers.Dense(1, use_bias=False, name="score")

    def call(self, queries, memory, mask):  # [B, T, D], [B, S, D], [B, S] -> [B, T, D], [B, T, S]
        pairs = ops.expand_dims(self.query(queries), 2) + ops.expand_dims(self.key(memory), 1)  # [B, T, S, units]
        return attend(ops.squeeze(self.score(ops.tanh(pairs)), -1), memory, mask)
