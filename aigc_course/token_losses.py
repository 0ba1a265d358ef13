"""Cross-entropy and accuracy of tokens, with padding left out.

Shapes: B batch, T steps, V vocabulary; targets are ids, logits of step t score target t.
"""

from keras import ops

from aigc_course.vocabulary import PAD


def masked_mean(values, mask):  # [B, T] x 2 -> []
    """Mean of ``values`` where ``mask`` is True; 0 if it is nowhere."""
    # Not by multiplying: a NaN or an infinity that does not count would spoil the sum.
    return ops.sum(ops.where(mask, values, 0.0)) / ops.maximum(ops.sum(ops.cast(mask, values.dtype)), 1)


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
