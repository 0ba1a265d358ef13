"""The small digit classifier whose features score the generators (course-FID, KID, precision and recall).

Shapes: B batch, 28 x 28 grey levels in [0, 1], 64 features, 10 classes.
Used by ``metrics``; weights ``digit-classifier``.
"""

import keras
from keras import layers


def build_classifier(width=32, dropout=0.4):  # [B, 28, 28, 1] -> [B, 10]
    """Convolutional network with logits as output; its layer ``features`` [B, 64] is what the scorer reads.

    The features are standardised by the normalisation that they come from: over the augmented training digits each has
    about mean 0 and variance 1 (over the plain ones within 0.3 of both). So every one counts alike in a distance, and
    the cubic kernel of KID gets numbers of its own size.

    While training it sees each digit a little turned, moved and scaled; in inference mode it sees it as it is.
    """
    augment = [
        layers.RandomRotation(0.05, fill_mode="constant"),
        layers.RandomTranslation(0.1, 0.1, fill_mode="constant"),
        layers.RandomZoom((-0.15, 0.15), fill_mode="constant"),
    ]
    stages = [layer for factor in (1, 2, 4) for layer in _stage(width * factor)]
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            *augment,
            *stages,
            layers.Flatten(),
            layers.Dropout(dropout),
            layers.Dense(64, use_bias=False),
            layers.BatchNormalization(momentum=0.9, center=False, scale=False, name="features"),
            layers.Activation("gelu"),
            layers.Dense(10, name="logits"),
        ],
        name="digit_classifier",
    )


def _stage(width):
    """3 x 3 convolution, normalisation, activation, then half the side."""
    return [
        layers.Conv2D(width, 3, padding="same", use_bias=False),
        layers.BatchNormalization(momentum=0.9),
        layers.Activation("relu"),
        layers.MaxPooling2D(2),
    ]
