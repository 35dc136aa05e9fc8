import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from facekit.errors import InputError
from facekit.metrics.images import MOST_DB, picture_likeness


def pictures(seed=0, size=40):
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.uniform(0, 255, (size, size, 3)), (3, 3, 0))
    smooth = 20 + 200 * (smooth - smooth.min()) / np.ptp(smooth)
    return smooth.astype(np.uint8)


def ssim_twin(a, b):
    """The published formula, one channel at a time, with explicit 11 x 11 Gaussian windows."""
    t = np.arange(-5, 6)
    g = np.exp(-(t**2) / (2 * 1.5**2))
    window = np.outer(g, g) / np.outer(g, g).sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = np.zeros((a.shape[0] - 10, a.shape[1] - 10, 3))
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            p = a[y : y + 11, x : x + 11].astype(float)
            q = b[y : y + 11, x : x + 11].astype(float)
            w = window[..., None]
            mp, mq = (w * p).sum((0, 1)), (w * q).sum((0, 1))
            vp = (w * p * p).sum((0, 1)) - mp**2
            vq = (w * q * q).sum((0, 1)) - mq**2
            cov = (w * p * q).sum((0, 1)) - mp * mq
            values[y, x] = (2 * mp * mq + c1) * (2 * cov + c2)
            values[y, x] /= (mp**2 + mq**2 + c1) * (vp + vq + c2)
    return values.mean(axis=-1)


def test_a_known_offset_gives_a_known_psnr():
    a = pictures()
    found = picture_likeness(a + np.uint8(10), a)
    assert found.psnr == pytest.approx(20 * np.log10(25.5))
    assert found.pixels == 1600
    assert picture_likeness(a, a)[:2] == (MOST_DB, pytest.approx(1.0))


def test_ssim_agrees_with_the_plain_twin():
    a = pictures()
    b = np.clip(a + np.random.default_rng(1).normal(0, 12, a.shape), 0, 255).astype(np.uint8)
    twin = ssim_twin(a, b)
    found = picture_likeness(a, b)
    assert found.ssim == pytest.approx(twin.mean(), abs=1e-6)
    assert found.ssim_pixels == twin.size
    mask = np.zeros((40, 40), bool)
    mask[4:30, 8:36] = True
    inside = picture_likeness(a, b, mask)
    assert inside.ssim == pytest.approx(twin[4:20, 8:26].mean(), abs=1e-6)
    changed = b.copy()
    changed[~mask] = 0
    assert picture_likeness(a, changed, mask) == inside


def test_rejections():
    a = pictures()
    with pytest.raises(InputError, match="reference"):
        picture_likeness(a, a[:-1])
    with pytest.raises(InputError, match="together"):
        picture_likeness(a, a, np.eye(40, dtype=bool))
    with pytest.raises(InputError, match="11 pixels a side"):
        picture_likeness(a[:8], a[:8])
