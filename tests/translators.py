"""What the tests of every ``Translator`` share: arrays, padding, one whole forward pass, causality."""

import numpy as np
from keras import ops


def numbers(values):
    """A tensor as a NumPy array."""
    return ops.convert_to_numpy(values)


def padded(ids, more):  # [N, T] -> [N, T + more]
    """Rows of ids with more padding behind."""
    return np.pad(ids, ((0, 0), (0, more)))


def forward(model, source_ids, decoder_ids):  # [B, S], [B, T] -> [B, T, V]
    """Log-probabilities of one whole forward pass, compiled: uncompiled, JAX would compile every call of an LSTM."""
    return numbers(model._functions.forced(source_ids, decoder_ids)[0])


def demand_causality(model):
    """Fails unless a target token changes the logits of its own step and of none before it."""
    (source_ids, decoder_ids), _ = model.arrays(["abcd"], ["12345"])
    before = forward(model, source_ids, decoder_ids)
    for step in range(1, decoder_ids.shape[1]):
        changed = decoder_ids.copy()
        changed[:, step] = 4 + (changed[:, step] - 3) % 5
        after = forward(model, source_ids, changed)
        np.testing.assert_allclose(after[:, :step], before[:, :step], atol=1e-6)
        assert np.abs(after[:, step] - before[:, step]).max() > 1e-4, f"step {step} does not see its token"
