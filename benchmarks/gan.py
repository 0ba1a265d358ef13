"""Time of one DCGAN training step: the course's ``fit`` on each backend against the same network in plain PyTorch.

Usage: python -m benchmarks.gan      (PyTorch's line needs `pip install torch`; so does the comparison)

The PyTorch loop is the usual one: the discriminator on a real batch and on detached fakes, its step, then the generator
through the discriminator. Same layers (no random shifts on either side), batch of 64 digits, Adam with the same
settings, same number of threads.
"""

from benchmarks.side_by_side import compare_training

BATCH, STEPS = 64, 60


def keras_steps():
    """``fit`` of the course's DCGAN for ``STEPS`` batches on the backend of ``KERAS_BACKEND``."""
    from aigc_course import gan, recipes
    from aigc_course.datasets import load_digits

    images = gan.to_model_range(load_digits().train.images[: BATCH * STEPS])
    model = gan.GAN(gan.DCGANGenerator(), gan.DCGANDiscriminator(max_shift=0))
    model.compile(recipes.gan_optimizer())
    return lambda: model.fit(images, batch_size=BATCH, verbose=0)


def torch_networks(width=64, latent_dim=64):
    """Generator and discriminator of ``aigc_course.gan`` (``DCGANGenerator``, ``DCGANDiscriminator``) in PyTorch."""
    import torch
    from torch import nn

    generator = nn.Sequential(
        nn.Linear(latent_dim, 512, bias=False),
        nn.BatchNorm1d(512),
        nn.ReLU(),
        nn.Linear(512, 7 * 7 * 2 * width, bias=False),
        nn.BatchNorm1d(7 * 7 * 2 * width),
        nn.ReLU(),
        nn.Unflatten(1, (2 * width, 7, 7)),
        nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.ConvTranspose2d(width, 1, 4, stride=2, padding=1),
        nn.Tanh(),
    )

    class BatchMean(nn.Module):
        def forward(self, rows):
            return torch.cat([rows, rows.mean(0, keepdim=True).expand_as(rows)], dim=1)

    discriminator = nn.Sequential(
        nn.Conv2d(1, width, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(2 * width * 7 * 7, 256),
        nn.LeakyReLU(0.2),
        BatchMean(),
        nn.Linear(512, 128),
        nn.LeakyReLU(0.2),
        nn.Linear(128, 1),
    )
    return generator, discriminator


def torch_steps():
    """The same number of steps in eager PyTorch."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

    from aigc_course import gan
    from aigc_course.datasets import load_digits

    images = torch.tensor(gan.to_model_range(load_digits().train.images[: BATCH * STEPS])).permute(0, 3, 1, 2)
    generator, discriminator = torch_networks()
    judge = torch.optim.Adam(discriminator.parameters(), 1e-3, (0.0, 0.99), eps=1e-7)
    maker = torch.optim.Adam(generator.parameters(), 1e-3, (0.0, 0.99), eps=1e-7)
    ones, zeros = torch.ones(BATCH, 1), torch.zeros(BATCH, 1)

    def step(real):
        fake = generator(torch.randn(BATCH, 64))
        judge.zero_grad()
        (cross_entropy(discriminator(real), ones) + cross_entropy(discriminator(fake.detach()), zeros)).backward()
        judge.step()
        maker.zero_grad()
        cross_entropy(discriminator(fake), ones).backward()
        maker.step()

    def run():
        for rows in torch.randperm(len(images)).split(BATCH):
            step(images[rows])

    return run


def main():
    compare_training("DCGAN, batch of 64", "benchmarks.gan", STEPS)


if __name__ == "__main__":
    main()
