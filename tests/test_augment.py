"""Deformed copies: what stays, what moves, and batches that hold every picture once an epoch."""

import numpy as np
import pytest

from aigc_course.datasets import augment, load_digits

pytestmark = pytest.mark.any_backend
STILL = {"rotation": 0, "scale": 0, "shear": 0, "shift": 0, "wave": 0}


def centre_of_mass(images):  # [N, H, W, 1] -> [N, 2]
    weight = images[..., 0].sum((1, 2))
    rows, columns = np.arange(images.shape[1]), np.arange(images.shape[2])
    return (
        np.stack([(images[..., 0].sum(2) * rows).sum(1), (images[..., 0].sum(1) * columns).sum(1)], 1) / weight[:, None]
    )


def angle(images):  # [N, H, W, 1] -> [N], of the longest axis, in degrees
    mid = centre_of_mass(images)
    angles = []
    for image, (row, column) in zip(images[..., 0], mid, strict=True):
        y, x = np.arange(image.shape[0]) - row, np.arange(image.shape[1]) - column
        xx, yy, xy = (image * x**2).sum(), (image.T * y**2).sum(), (image * y[:, None] * x).sum()
        angles.append(np.degrees(0.5 * np.arctan2(2 * xy, xx - yy)))
    return np.array(angles)


def bars(count=40):  # a horizontal bar in the middle of 21 x 25
    images = np.zeros((count, 21, 25, 1), "float32")
    images[:, 9:12, 4:21] = 1.0
    return images


def test_without_any_deformation_black_and_white_stay():
    np.testing.assert_allclose(augment.deform(bars(3), **STILL), bars(3), atol=1e-6)


def test_shape_range_and_seed():
    images = load_digits().validation.images[:7]
    one, again, other = (augment.deform(images, seed=seed) for seed in (1, 1, 2))
    assert one.shape == images.shape and one.min() >= 0 and one.max() <= 1
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.3
    assert augment.deform(images[:0]).shape == (0, 28, 28, 1)


def test_rotation_has_its_deviation_and_keeps_the_place():
    turned = augment.deform(bars(300), **{**STILL, "rotation": 6.0})
    assert angle(turned).std() == pytest.approx(6.0, rel=0.15)
    np.testing.assert_allclose(centre_of_mass(turned), np.tile([10.0, 12.0], (300, 1)), atol=0.1)


def test_shift_has_its_deviation():
    moved = centre_of_mass(augment.deform(bars(300), **{**STILL, "shift": 0.8}))
    np.testing.assert_allclose(moved.std(0), 0.8, rtol=0.15)


def test_scale_changes_the_width_by_its_share():
    wide = augment.deform(bars(300), **{**STILL, "scale": 0.1})[..., 0].sum((1, 2))
    assert wide.std() / wide.mean() == pytest.approx(0.1 * np.sqrt(2), rel=0.25)


def test_waves_bend_by_their_deviation():
    """Seen by where the bar's middle comes to lie, column by column."""
    bent = augment.deform(bars(200), **{**STILL, "wave": 0.7})[..., 0]
    rows = np.arange(21)[:, None]
    middle = (bent * rows).sum(1)[:, 8:17] / bent.sum(1)[:, 8:17]
    assert middle.std() == pytest.approx(0.7, rel=0.25)


def test_grey_levels_of_digits_spread_as_before():
    images = load_digits().validation.images
    vague = [(x * (1 - x)).sum((1, 2, 3)).mean() for x in (images, augment.deform(images, seed=3))]
    assert vague[1] == pytest.approx(vague[0], rel=0.1)


def test_every_epoch_shows_every_picture_once_and_copies_change():
    images = np.linspace(0.2, 1, 10, dtype="float32")[:, None, None, None] * np.ones((1, 5, 4, 1), "float32")
    data = augment.Deformed(images, labels=np.arange(10), num_copies=3, batch_size=4, seed=0)
    assert len(data) == 3
    seen = []
    for _ in range(2):
        batches = [data[i][0] for i in range(3)]
        assert [len(x) for x, _ in batches] == [4, 4, 2]
        assert sorted(np.concatenate([labels for _, labels in batches])) == list(range(10))
        order = np.concatenate([labels for _, labels in batches])
        seen.append(np.concatenate([x for x, _ in batches])[np.argsort(order)])
        data.on_epoch_end()
    assert np.abs(seen[0] - seen[1]).max() > 0.05


def test_without_labels_a_batch_is_the_images():
    data = augment.Deformed(bars(5), num_copies=1, batch_size=3)
    (images,) = data[1]
    assert images.shape == (2, 21, 25, 1) and images.dtype == np.float32
