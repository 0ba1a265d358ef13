"""The course's VAE: nats a digit against the keras.io example's network, and the time of a training step.

Usage: python -m benchmarks.vae [--epochs 40] [--mnist] [--steps-only] [--nats-only]

1. Two latent numbers. The network and the loss of the VAE example of keras.io (its grey levels as targets, Adam at
   1e-3) and the course's network and recipe at no more parameters: same 8,000 digits, same batch, same number of
   steps. Both are scored by 1,000 importance samples on the same 1,000 held-out digits, binarised once.
2. The shipped ``vae-digits`` on the same held-out digits.
3. Milliseconds of a training step of its network: ``fit`` on each backend against eager PyTorch, side by side.

With ``--mnist`` parts 1 and 2 use all of MNIST (50,000 training digits, 10,000 test digits; ``mnist.npz`` at hand), and
part 2 trains the network of ``vae-digits`` on them first.
"""

import argparse

from benchmarks.side_by_side import compare_training

BATCH, STEPS = 64, 40


def example_vae(latent_dim=2):
    """Network of https://keras.io/examples/generative/vae/ as a course ``VAE`` whose targets are the grey levels."""
    import keras
    from keras import layers

    from aigc_course import vae

    images = keras.Input((28, 28, 1))
    hidden = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(images)
    hidden = layers.Conv2D(64, 3, strides=2, padding="same", activation="relu")(hidden)
    hidden = layers.Dense(16, activation="relu")(layers.Flatten()(hidden))
    encoder = keras.Model(images, [layers.Dense(latent_dim)(hidden), layers.Dense(latent_dim)(hidden)])
    decoder = keras.Sequential(
        [
            keras.Input((latent_dim,)),
            layers.Dense(7 * 7 * 64, activation="relu"),
            layers.Reshape((7, 7, 64)),
            layers.Conv2DTranspose(64, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2DTranspose(1, 3, padding="same"),
        ]
    )

    class GreyTargets(vae.VAE):
        def call(self, inputs, training=False):
            mean, log_var = self.encoder(inputs)
            return {"observed": inputs, "mean": mean, "log_var": log_var}

    return GreyTargets(latent_dim, encoder=encoder, decoder=decoder)


def course_vae(latent_dim=2):
    """The course's convolutional VAE, made as small as the example."""
    from aigc_course import vae

    encoder, decoder = vae.ConvEncoder(latent_dim, 16, 32), vae.ConvDecoder(latent_dim, 16, 32)
    return vae.VAE(latent_dim, encoder=encoder, decoder=decoder)


def nats(model, test):
    """Mean importance-sampled negative log-likelihood of the test images, with 1,000 draws an image."""
    return -model.log_likelihood(test.images, 1000).mean()


def compare_nats(digits, epochs, batch_size=128):
    """Print nats a digit of both small models and of the headline model."""
    import keras

    from aigc_course import checkpoints, training
    from aigc_course.datasets.augment import Deformed

    print(f"{'model':42} {'parameters':>10} {'nats a digit':>13}")
    example, ours = example_vae(), course_vae()
    example.compile(keras.optimizers.Adam(1e-3))
    training.fit(example, digits.train.images, epochs=epochs, batch_size=batch_size)
    _print_row("keras.io example, 2 latent numbers", example, digits.test)
    data = Deformed(digits.train.images, batch_size=batch_size)
    ours.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, epochs * len(data), alpha=0.02)))
    training.fit(ours, data, epochs=epochs)
    _print_row("aigc_course, 2 latent numbers", ours, digits.test)
    if len(digits.train) == 8000:
        _print_row("aigc_course, vae-digits as shipped", checkpoints.load("vae-digits"), digits.test)
    else:
        _print_row("aigc_course, vae-digits on MNIST", _train_headline(digits, epochs), digits.test)


def _print_row(name, model, test):
    print(f"{name:42} {model.count_params():10,} {nats(model, test):13.2f}")


def _train_headline(digits, epochs):
    import keras

    from aigc_course import recipes, training

    model = recipes.build_vae()
    steps = epochs * -(-len(digits.train) // BATCH)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, steps, alpha=0.02)))
    training.fit(model, digits.train.images, epochs=epochs, batch_size=BATCH)
    return model


def keras_steps():
    """``fit`` of the network of ``vae-digits`` for ``STEPS`` batches on the backend of ``KERAS_BACKEND``."""
    import keras

    from aigc_course import recipes
    from aigc_course.datasets import load_digits

    images = load_digits().train.images[: BATCH * STEPS]
    model = recipes.build_vae()
    model.compile(keras.optimizers.Adam(1e-3))
    return lambda: model.fit(images, batch_size=BATCH, verbose=0)


def torch_networks(latent_dim=32, width=48, hidden_dim=400):
    """Encoder (without heads), two heads and decoder of ``recipes.build_vae`` in PyTorch."""
    from torch import nn

    flat = 7 * 7 * 2 * width
    body = nn.Sequential(
        nn.Conv2d(1, width, 4, 2, 1),
        nn.GELU(),
        nn.Conv2d(width, 2 * width, 4, 2, 1),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(flat, hidden_dim),
        nn.GELU(),
    )
    heads = nn.ModuleList([nn.Linear(hidden_dim, latent_dim), nn.Linear(hidden_dim, latent_dim)])
    decoder = nn.Sequential(
        nn.Linear(latent_dim, hidden_dim),
        nn.GELU(),
        nn.Linear(hidden_dim, flat),
        nn.GELU(),
        nn.Unflatten(1, (2 * width, 7, 7)),
        nn.ConvTranspose2d(2 * width, width, 4, 2, 1),
        nn.GELU(),
        nn.ConvTranspose2d(width, 1, 4, 2, 1),
    )
    return body, heads, decoder


def torch_steps():
    """The same number of steps in eager PyTorch, written as one usually does."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

    from aigc_course.datasets import load_digits

    images = torch.tensor(load_digits().train.images[: BATCH * STEPS]).permute(0, 3, 1, 2)
    networks = torch_networks()
    body, heads, decoder = networks
    optimizer = torch.optim.Adam([p for network in networks for p in network.parameters()], 1e-3, eps=1e-7)

    def step(grey):
        x = torch.bernoulli(grey)
        hidden = body(x)
        mean, log_var = heads[0](hidden), heads[1](hidden)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        distortion = cross_entropy(decoder(z), x, reduction="sum") / len(x)
        rate = 0.5 * (mean**2 + log_var.exp() - log_var - 1).sum(1).mean()
        optimizer.zero_grad()
        (distortion + rate).backward()
        optimizer.step()

    def run():
        for rows in torch.randperm(len(images)).split(BATCH):
            step(images[rows])

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=40, help="passes of each training of part 1 (and 2 with --mnist)")
    parser.add_argument("--mnist", action="store_true", help="use all of MNIST")
    parser.add_argument("--nats-only", action="store_true", help="leave out the timing")
    parser.add_argument("--steps-only", action="store_true", help="only the timing")
    options = parser.parse_args()
    if not options.steps_only:
        from aigc_course import runtime
        from aigc_course.datasets import load_digits

        print(runtime.setup(seed=0))
        compare_nats(load_digits("mnist" if options.mnist else "course"), options.epochs)
    if not options.nats_only:
        compare_training("VAE, batch of 64", "benchmarks.vae", STEPS)


if __name__ == "__main__":
    main()
