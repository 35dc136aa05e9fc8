import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from facekit.errors import InputError, ItemError
from facekit.io.images import read_image, read_photo, resize, write_image

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)


def save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def test_png_round_trip_is_exact(tmp_path):
    path = write_image(tmp_path / "näme with space.png", PICTURE)
    np.testing.assert_array_equal(read_image(path), PICTURE)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    # What each EXIF value says of where the stored first row and column go.
    upright = PICTURE
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "turned.png", np.ascontiguousarray(stored), exif=exif)
    photo = read_photo(path)
    np.testing.assert_array_equal(photo.image, upright)
    assert (photo.width, photo.height) == (9, 6)


def test_grey_becomes_three_equal_channels(tmp_path):
    grey = PICTURE[..., 0]
    image = read_image(save(tmp_path / "g.png", grey))
    np.testing.assert_array_equal(image, np.repeat(grey[..., None], 3, axis=2))


def test_sixteen_bit_grey_keeps_its_range(tmp_path):
    values = np.array([[0, 32768, 65535]], np.uint16)
    image = read_image(save(tmp_path / "deep.png", values))
    np.testing.assert_allclose(image[0, :, 0], [0, 128, 255], atol=1)


def sixteen_bit_rgb_png(values):
    height, width, _ = values.shape
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


def test_sixteen_bit_colour_keeps_its_range(tmp_path):
    values = np.array([[[0, 32768, 65535], [65535, 0, 12850]]], np.uint16)
    path = tmp_path / "deep.png"
    path.write_bytes(sixteen_bit_rgb_png(values))
    np.testing.assert_allclose(read_image(path), values / 257, atol=1)


def test_transparent_pixels_are_put_on_white(tmp_path):
    rgba = np.zeros((1, 2, 4), np.uint8)
    rgba[0, 1] = (10, 20, 30, 255)
    image = read_image(save(tmp_path / "a.png", rgba))
    np.testing.assert_array_equal(image[0], [[255, 255, 255], [10, 20, 30]])


def test_palette_and_cmyk_are_converted(tmp_path):
    Image.fromarray(PICTURE).convert("P").save(tmp_path / "p.png")
    Image.fromarray(PICTURE).convert("CMYK").save(tmp_path / "c.jpg")
    assert read_image(tmp_path / "p.png").shape == PICTURE.shape
    assert read_image(tmp_path / "c.jpg").shape == PICTURE.shape


def test_one_pixel_image(tmp_path):
    assert read_image(save(tmp_path / "one.png", PICTURE[:1, :1])).shape == (1, 1, 3)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_truncated_files_are_items_that_fail(tmp_path, suffix):
    big = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / f"cut.{suffix}", big)
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(ItemError, match="corrupt or truncated"):
        read_photo(path)


def test_text_empty_and_missing_files_are_items_that_fail(tmp_path):
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "empty.jpg").write_bytes(b"")
    with pytest.raises(ItemError, match="not an image"):
        read_photo(tmp_path / "text.jpg")
    with pytest.raises(ItemError, match="empty"):
        read_photo(tmp_path / "empty.jpg")
    with pytest.raises(ItemError, match="no such file"):
        read_photo(tmp_path / "none.jpg")


def test_too_many_pixels_are_refused_before_decoding(tmp_path):
    # A header alone is enough to be refused: nothing of 250 megapixels is decoded.
    header = struct.pack(">IIBBBBB", 25000, 10000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header
    data += struct.pack(">I", zlib.crc32(b"IHDR" + header)) + struct.pack(">I", 0) + b"IDAT"
    path = tmp_path / "huge.png"
    path.write_bytes(data + struct.pack(">I", zlib.crc32(b"IDAT")))
    with pytest.raises(ItemError, match="250 megapixels"):
        read_photo(path)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_reading_scaled_down_keeps_pixel_centres(tmp_path, suffix, orientation):
    x, y = np.meshgrid(np.arange(1200), np.arange(800))
    blob = np.exp(-((x - 700.0) ** 2 + (y - 300.0) ** 2) / (2 * 40.0**2))
    image = np.repeat((255 * blob).astype(np.uint8)[..., None], 3, axis=2)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"big.{suffix}", image, exif=exif)
    full, photo = read_photo(path), read_photo(path, max_side=300)
    assert max(photo.image.shape) == 300
    centre = {1: (700.0, 300.0), 6: (799.0 - 300.0, 700.0)}[orientation]
    rows, columns = np.mgrid[: photo.image.shape[0], : photo.image.shape[1]]
    weight = photo.image[..., 0] / photo.image[..., 0].sum(dtype=float)
    found = np.array([(columns * weight).sum(), (rows * weight).sum()])
    expected = photo.scale * (np.array(centre) + 0.5) - 0.5
    np.testing.assert_allclose(found, expected, atol=0.1)
    assert (photo.width, photo.height) == full.image.shape[1::-1]


def test_focal_length_is_read_from_exif(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 50
    path = tmp_path / "lens.jpg"
    Image.fromarray(np.zeros((24, 36, 3), np.uint8)).save(path, exif=exif)
    # 50 mm on a 36 mm wide frame of 36 pixels is 50 pixels.
    assert read_photo(path).focal_px == pytest.approx(50)
    assert read_photo(save(tmp_path / "plain.png", PICTURE)).focal_px is None


def test_resize_keeps_pixel_centres():
    ramp = np.tile(np.linspace(0, 255, 64)[None, :, None], (8, 1, 3)).astype(np.uint8)
    half = resize(ramp, 0.5)
    # x' = (x + 0.5) / 2 - 0.5: output pixel 10 covers input pixels 20 and 21.
    assert half.shape == (4, 32, 3)
    np.testing.assert_allclose(half[2, 10, 0], ramp[0, 20:22, 0].mean(), atol=1.5)


def test_nothing_is_left_behind_when_writing_fails(tmp_path):
    with pytest.raises((TypeError, ValueError, OSError)):
        write_image(tmp_path / "bad.png", np.zeros((2, 2, 7), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_bytes_of_a_jpeg_decode(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).save(buffer, format="JPEG", quality=95)
    (tmp_path / "upper.JPG").write_bytes(buffer.getvalue())
    assert read_image(tmp_path / "upper.JPG").shape == PICTURE.shape


def test_a_name_of_no_picture_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"ends in \.png or \.jpg"):
        write_image(tmp_path / "modes", PICTURE)
    assert not list(tmp_path.iterdir())
