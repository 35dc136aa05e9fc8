import weakref
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from facekit.errors import InputError, ItemError
from facekit.geometry.alignment import SimilarityTransform
from facekit.geometry.crop import square_crop, warp
from facekit.io.frames import ImageFrame
from facekit.io.images import write_image
from facekit.io.video import Camera, ImageSequence, VideoFile, VideoWriter, open_source
from facekit.io.yuv import colour_matrix, yuv_to_rgb

NTSC = Fraction(30000, 1001)


def scene(number=0, width=96, height=64):
    """Smooth colours, so that what compression takes away is small, and a block that moves."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([60 + x, 200 - y, 90 + 0.5 * (x + y)], axis=-1)
    image[20:36, 8 + 2 * number : 24 + 2 * number] = (200, 60, 40)
    return np.clip(image, 0, 255).astype(np.uint8)


def write(path, times, rate, *, even=True, size=(96, 64)):
    with VideoWriter(path, *size, rate, even=even, quality=8) as writer:
        for number, moment in enumerate(times):
            writer.write(scene(number, *size), moment)
    return path


@pytest.mark.parametrize("rate", [NTSC, Fraction(24000, 1001), Fraction(25), Fraction(60000, 1001)])
def test_rates_and_times_are_exact(tmp_path, rate):
    times = [k / rate for k in range(12)]
    video = VideoFile(write(tmp_path / "a.mp4", times, rate))
    assert video.info.rate == rate
    assert video.info.even
    assert video.info.frames == 12
    assert [frame.time for frame in video.frames()] == times
    assert video.problems == []


def test_times_that_a_file_rounds_come_back_exact(tmp_path):
    # Matroska counts milliseconds: 29.97 frames a second do not fit.
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=NTSC)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for k in range(40):
            frame = av.VideoFrame.from_ndarray(scene(0), "rgb24")
            frame.pts, frame.time_base = k, 1 / NTSC
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    video = VideoFile(path)
    assert video.info.rate == NTSC
    assert [frame.time for frame in video.frames()] == [k / NTSC for k in range(40)]


def test_uneven_times_are_kept(tmp_path):
    ticks = np.cumsum([0, 3000, 3000, 9000, 1500, 45000, 3003, 2997])
    times = [Fraction(int(t), 90000) for t in ticks]
    video = VideoFile(write(tmp_path / "a.mp4", times, Fraction(30), even=False))
    assert not video.info.even
    assert [frame.time for frame in video.frames()] == times


def test_colours_and_parts_agree_with_the_picture(tmp_path):
    video = VideoFile(write(tmp_path / "a.mp4", [Fraction(0)], Fraction(30)))
    frame = next(video.frames())
    whole = frame.image()
    assert np.abs(whole.astype(int) - scene()).mean() < 3
    part = frame.part(np.array([10.4, 5.0]), np.array([30.0, 25.2]))
    np.testing.assert_array_equal(part.corner, [10, 5])
    np.testing.assert_array_equal(part.image, whole[5:27, 10:31])
    assert frame.part(np.array([-50.0, 0]), np.array([-10.0, 9])) is None
    small, scale = frame.reduced(48)
    assert small.shape == (32, 48, 3)
    assert scale == 0.5


@pytest.mark.parametrize("side", [14.0, 40.0, 55.0])
@pytest.mark.parametrize("roll", [0.0, 0.5])
def test_a_crop_from_the_planes_is_the_pictures(tmp_path, side, roll):
    video = VideoFile(write(tmp_path / "a.mp4", [Fraction(0)], Fraction(30)))
    frame = next(video.frames())
    crop = square_crop(np.array([50.0, 33.0]), side, size=24, roll=roll)
    expected = warp(frame.image(), crop, size=24).astype(int)
    # Colour differences are half as fine: at the block's edges the two ways differ.
    apart = np.abs(frame.warp(crop, size=24).astype(int) - expected)
    assert np.median(apart) <= 2
    assert apart.mean() < 5


def test_a_crop_outside_is_black(tmp_path):
    video = VideoFile(write(tmp_path / "a.mp4", [Fraction(0)], Fraction(30)))
    frame = next(video.frames())
    far = SimilarityTransform(1.0, np.eye(2), np.array([500.0, 0.0]))
    assert frame.warp(far, size=16).max() == 0
    edge = frame.warp(SimilarityTransform(1.0, np.eye(2), np.array([8.0, 0.0])), size=16)
    assert edge[:, :7].max() == 0
    assert edge[:, 9:].min() > 0


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_a_turned_video_is_upright(tmp_path, degrees):
    path = tmp_path / "a.mp4"
    upright = scene()
    stored = np.ascontiguousarray(np.rot90(upright, -degrees // 90))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = stored.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.set_display_rotation(degrees)
        stream.codec_context.options = {"crf": "8"}
        container.mux(stream.encode(av.VideoFrame.from_ndarray(stored, "rgb24")))
        container.mux(stream.encode(None))
    frame = next(VideoFile(path).frames())
    assert (frame.width, frame.height) == (96, 64)
    image = frame.image()
    assert np.abs(image.astype(int) - upright).mean() < 3
    part = frame.part(np.array([10.0, 5.0]), np.array([30.0, 25.0]))
    np.testing.assert_array_equal(part.image, image[5:26, 10:31])
    crop = square_crop(np.array([50.0, 33.0]), 40.0, size=24, roll=0.3)
    expected = warp(image, crop, size=24).astype(int)
    assert np.median(np.abs(frame.warp(crop, size=24).astype(int) - expected)) <= 2


@pytest.mark.parametrize(("red", "blue"), [(0.299, 0.114), (0.2126, 0.0722)])
@pytest.mark.parametrize("full", [False, True])
def test_the_matrix_inverts_the_standard(red, blue, full):
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (20, 20, 3)).astype(float)
    luma = rgb @ [red, 1 - red - blue, blue]
    u = (rgb[..., 2] - luma) / (2 * (1 - blue))
    v = (rgb[..., 0] - luma) / (2 * (1 - red))
    if not full:
        luma, u, v = 16 + luma * 219 / 255, u * 224 / 255, v * 224 / 255
    planes = [np.clip(np.round(p), 0, 255).astype(np.uint8) for p in (luma, u + 128, v + 128)]
    found = yuv_to_rgb(*planes, colour_matrix(red, blue, full=full), halved=False)
    assert np.abs(found - rgb).max() <= 3


def test_frames_are_not_kept(tmp_path):
    video = VideoFile(write(tmp_path / "a.mp4", [k / NTSC for k in range(30)], NTSC))
    alive, most = weakref.WeakSet(), 0
    for frame in video.frames():
        alive.add(frame)
        most = max(most, len(alive))
    assert most <= 2


def test_a_file_cut_short_gives_what_it_has(tmp_path):
    path = write(tmp_path / "a.mp4", [k / NTSC for k in range(30)], NTSC)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"a\.mp4.*no video"):
        VideoFile(path)
    stream = tmp_path / "b.mkv"
    with av.open(str(stream), "w") as container:
        output = container.add_stream("libx264", rate=25)
        output.width, output.height, output.pix_fmt = 96, 64, "yuv420p"
        rng = np.random.default_rng(0)
        for k in range(60):
            noise = rng.integers(0, 255, (64, 96, 3)).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(noise, "rgb24")
            frame.pts = k
            container.mux(output.encode(frame))
        container.mux(output.encode(None))
    content = bytearray(stream.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 3000] = bytes(3000)
    stream.write_bytes(bytes(content))
    damaged = VideoFile(stream)
    count = sum(1 for _ in damaged.frames())
    assert 5 < count < 60
    assert any("damaged" in problem for problem in damaged.problems)


def test_what_is_no_video_is_named(tmp_path):
    (tmp_path / "a.mp4").write_text("not a video")
    with pytest.raises(InputError, match="no video"):
        open_source(str(tmp_path / "a.mp4"))
    with pytest.raises(InputError, match="no such video"):
        open_source(str(tmp_path / "b.mp4"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no supported image"):
        open_source(str(tmp_path / "empty"))


def test_an_odd_size_loses_its_last_line(tmp_path):
    path = write(tmp_path / "a.mp4", [Fraction(0)], Fraction(25), size=(97, 65))
    frame = next(VideoFile(path).frames())
    assert (frame.width, frame.height) == (96, 64)


def test_images_of_a_folder_come_in_the_order_of_their_numbers(tmp_path):
    for k in (1, 2, 10):
        write_image(tmp_path / f"f{k}.png", scene(k))
    write_image(tmp_path / "f3.png", scene(0, 40, 40))
    (tmp_path / "f4.png").write_bytes(b"broken")
    sequence = ImageSequence(tmp_path, rate=NTSC)
    frames = list(sequence.frames())
    assert [f.time for f in frames] == [0, 1 / NTSC, 4 / NTSC]
    np.testing.assert_array_equal(frames[2].image(), scene(10))
    assert len(sequence.problems) == 2
    assert "40 x 40" in sequence.problems[0]
    assert "f4.png" in sequence.problems[1]


def test_a_folder_of_broken_images_is_named(tmp_path):
    (tmp_path / "f4.png").write_bytes(b"broken")
    with pytest.raises(ItemError, match="not one image"):
        list(ImageSequence(tmp_path, rate=NTSC).frames())


class FakeCapture:
    """Three pictures of a camera, blue first as OpenCV gives them."""

    def __init__(self, number):
        self.left, self.number, self.released = 3, number, False

    def isOpened(self):
        return self.number == 0

    def get(self, key):
        return {cv2.CAP_PROP_FPS: 15.0}.get(key, 64.0)

    def read(self):
        self.left -= 1
        return self.left >= 0, scene()[..., ::-1]

    def release(self):
        self.released = True


def test_a_camera_gives_pictures_with_their_times(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    camera = open_source("0")
    assert isinstance(camera, Camera)
    assert camera.info.rate == 15
    frames = list(camera.frames())
    assert len(frames) == 3
    np.testing.assert_array_equal(frames[0].image(), scene())
    assert frames[0].time == 0
    assert frames[2].time >= frames[1].time
    with pytest.raises(InputError, match="camera 7"):
        open_source("7")


def test_an_image_frames_crop_is_the_images():
    frame = ImageFrame(0, Fraction(0), scene())
    crop = square_crop(np.array([40.0, 30.0]), 20.0, size=16, roll=0.2)
    np.testing.assert_array_equal(frame.warp(crop, size=16), warp(scene(), crop, size=16))
