"""Encoders and decoders of the variational autoencoder (``aigc_course.vae``), plain Keras models.

Shapes: B batch, Z latent width, H W image side, L classes.   Taught in chapters/08_vae.   Corrects D7.

An encoder returns ``[mean, log_var]``, a decoder the parameters of the likelihood. With ``num_classes`` both take a
one-hot label [B, L] as a second input.
"""

import keras
import numpy as np
from keras import layers


def _encoder(latent_dim, features, num_classes, image_shape, hidden_dim):
    """``features``: layers that make a vector of an image. Then labels, a dense layer, and one head for each output."""
    inputs = images = keras.Input(image_shape)
    hidden = images
    for layer in features:
        hidden = layer(hidden)
    if num_classes:
        inputs = [images, keras.Input((num_classes,))]
        hidden = layers.Concatenate()([hidden, inputs[1]])
    hidden = layers.Dense(hidden_dim, activation="gelu")(hidden)
    heads = [layers.Dense(latent_dim, name=name)(hidden) for name in ("mean", "log_var")]
    return keras.Model(inputs, heads, name="encoder")


def _decoder(latent_dim, stages, num_classes):
    inputs = hidden = keras.Input((latent_dim,))
    if num_classes:
        inputs = [hidden, keras.Input((num_classes,))]
        hidden = layers.Concatenate()(inputs)
    for layer in stages:
        hidden = layer(hidden)
    return keras.Model(inputs, hidden, name="decoder")


def MLPEncoder(latent_dim, hidden_dim=400, num_classes=0, image_shape=(28, 28, 1)):  # [B, H, W, 1] -> 2 x [B, Z]
    """Dense encoder with two hidden layers; the heads for mean and log-variance share nothing but what they read."""
    features = [layers.Flatten(), layers.Dense(hidden_dim, activation="gelu")]
    return _encoder(latent_dim, features, num_classes, image_shape, hidden_dim)


def MLPDecoder(latent_dim, hidden_dim=400, num_classes=0, image_shape=(28, 28, 1)):  # [B, Z] -> [B, H, W, 1]
    """Dense decoder with two hidden layers; its outputs are the parameters of the likelihood, without activation."""
    hidden = [layers.Dense(hidden_dim, activation="gelu") for _ in range(2)]
    return _decoder(
        latent_dim, [*hidden, layers.Dense(int(np.prod(image_shape))), layers.Reshape(image_shape)], num_classes
    )


def ConvEncoder(latent_dim, width=32, hidden_dim=256, num_classes=0):  # [B, 28, 28, 1] -> 2 x [B, Z]
    """Convolutional encoder, 28 -> 14 -> 7 by strides."""
    features = [
        layers.Conv2D(width, 4, strides=2, padding="same", activation="gelu"),  # [B, 14, 14, width]
        layers.Conv2D(2 * width, 4, strides=2, padding="same", activation="gelu"),  # [B, 7, 7, 2 width]
        layers.Flatten(),
    ]
    return _encoder(latent_dim, features, num_classes, (28, 28, 1), hidden_dim)


def ConvDecoder(latent_dim, width=32, hidden_dim=256, num_classes=0):  # [B, Z] -> [B, 28, 28, 1]
    """Convolutional decoder, 7 -> 14 -> 28 by transposed convolutions; outputs without activation."""
    stages = [
        layers.Dense(hidden_dim, activation="gelu"),
        layers.Dense(7 * 7 * 2 * width, activation="gelu"),
        layers.Reshape((7, 7, 2 * width)),
        layers.Conv2DTranspose(width, 4, strides=2, padding="same", activation="gelu"),  # [B, 14, 14, width]
        layers.Conv2DTranspose(1, 4, strides=2, padding="same"),  # [B, 28, 28, 1]
    ]
    return _decoder(latent_dim, stages, num_classes)
