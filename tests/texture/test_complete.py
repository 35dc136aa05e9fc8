"""Rendered heads of known texture give it back; what they do not show is completed."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image
from toy import toy_model

from facekit.errors import InputError
from facekit.geometry.cameras import project
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix
from facekit.render.images import render_textured
from facekit.render.shade import ambient_sh, directional_light_sh, srgb_to_linear, to_uint8
from facekit.texture.atlas import TexelAtlas, fitting_size
from facekit.texture.complete import ALBEDO, MIRROR, PHOTOGRAPH, complete_texture
from facekit.texture.maker import TextureMaker
from facekit.texture.unwrap import unwrap
from facekit.types import Camera, Mesh

PLAIN = toy_model()
PARTNER = np.array([np.argmin(((PLAIN.mean - v * [-1, 1, 1]) ** 2).sum(1)) for v in PLAIN.mean])
MODEL = dataclasses.replace(PLAIN, mirror=PARTNER.astype(np.int32))
MESH = Mesh(MODEL.mean, MODEL.faces, MODEL.uvs, MODEL.face_uvs)
ATLAS = TexelAtlas(MODEL, 256)
WHITE = ambient_sh(np.ones(3))
SIDE = 401


def view(yaw_deg=0.0, shift=0.0, scale=1):
    rotation = HEAD_TO_CAMERA @ euler_to_matrix(np.radians(yaw_deg), 0, 0)
    side = SIDE * scale
    K = np.array(
        [[1300.0 * scale, 0, (side - 1) / 2], [0, 1300 * scale, (side - 1) / 2], [0, 0, 1]]
    )
    return Camera(K, rotation, np.array([shift, 0, 900.0]), side, side)


def painted(symmetric=False):
    """A texture of known colour everywhere: a smooth function of the place on the head."""
    place = ATLAS.interpolate(MODEL.mean)
    x = np.abs(place[:, 0]) if symmetric else place[:, 0]
    colour = np.stack(
        [0.35 + 0.1 * np.sin(x / 15), 0.3 + 0.1 * np.cos(place[:, 1] / 12), 0.25 + x / 600], axis=1
    )
    return ATLAS.padded(ATLAS.image(to_uint8(colour)))


def photograph(texture, camera, light=None, background=(30, 200, 30)):
    picture = render_textured(MESH, texture, camera, light=light, supersample=3)
    return picture.over(np.array(background))


def difference(found, truth, chosen):
    return np.abs(found[chosen].astype(float) - truth[chosen])


@pytest.mark.parametrize("yaw", [0.0, 30.0])
def test_a_known_texture_comes_back(yaw):
    truth, camera = painted(), view(yaw)
    made = complete_texture(ATLAS, photograph(truth, camera), MODEL.mean, camera, WHITE)
    error = difference(made.seen, truth, made.source == PHOTOGRAPH)
    assert error.mean() < 1.5
    assert np.quantile(error, 0.99) < 8
    assert 0.15 < made.photographed < 0.6
    np.testing.assert_allclose(made.seen, made.even, atol=1)


def test_the_hidden_half_of_a_symmetric_head_comes_back():
    truth, camera = painted(symmetric=True), view(35)
    made = complete_texture(ATLAS, photograph(truth, camera), MODEL.mean, camera, WHITE)
    hidden = made.source == MIRROR
    assert hidden.sum() > 0.05 * (made.source > 0).sum()
    error = difference(made.seen, truth, hidden)
    assert error.mean() < 2
    assert np.quantile(error, 0.99) < 8


def test_the_mirror_side_is_the_partners_own_colour():
    # Symmetric geometry and texture: a texel's partner shows exactly its colour.
    camera = view(0)
    image = photograph(painted(symmetric=True), camera)
    own = unwrap(ATLAS, image, MODEL.mean, camera)
    other = unwrap(ATLAS, image, MODEL.mean, camera, mirrored=True)
    both = own.seen & other.seen
    assert both.mean() > 0.2
    assert np.abs(own.colour - other.colour)[both].mean() < 0.003
    # The picture itself is flipped: every texel's partner then has what the texel had.
    flipped = unwrap(ATLAS, np.ascontiguousarray(image[:, ::-1]), MODEL.mean, camera, mirrored=True)
    same = own.seen & flipped.seen
    assert np.abs(own.colour - flipped.colour)[same].max() < 0.02


def test_light_is_taken_out_up_to_a_factor():
    truth, camera = painted(), view(10)
    light = ambient_sh(np.full(3, 0.5)) + directional_light_sh(
        np.array([0.7, -0.3, -0.65]), np.array([0.5, 0.45, 0.4])
    )
    image = photograph(truth, camera, light)
    made = complete_texture(ATLAS, image, MODEL.mean, camera, light)
    seen = made.source == PHOTOGRAPH
    ratio = srgb_to_linear(made.even[seen] / 255) / srgb_to_linear(truth[seen] / 255)
    spread = ratio.std(axis=0) / ratio.mean(axis=0)
    lit = srgb_to_linear(made.seen[seen] / 255) / srgb_to_linear(truth[seen] / 255)
    assert (spread < 0.06).all()
    assert (spread < 0.4 * lit.std(axis=0) / lit.mean(axis=0)).all()


def test_no_background_bleeds_in():
    # The photographed head is a little narrower than the fitted one.
    camera = view(0)
    grey = np.full((256, 256, 3), 120, np.uint8)
    narrow = dataclasses.replace(MESH, vertices=MODEL.mean * [0.98, 0.99, 1.0])
    picture = render_textured(narrow, grey, camera).over(np.array([255, 0, 0]))
    made = complete_texture(ATLAS, picture, MODEL.mean, camera, WHITE)
    tint = made.seen[..., 0].astype(int) - made.seen[..., 1]
    assert tint[made.source > 0].max() < 12


def test_what_nothing_shows_has_the_albedo_at_the_photographs_brightness():
    camera = view(0)
    made = complete_texture(
        ATLAS, photograph(np.full((256, 256, 3), 90, np.uint8), camera), MODEL.mean, camera, WHITE
    )
    back = made.source == ALBEDO
    assert back.any()
    np.testing.assert_allclose(made.seen[back].mean(axis=0), 90, atol=3)


@pytest.mark.parametrize("case", ["mask", "outside", "behind"])
def test_a_photograph_that_shows_nothing_gives_the_albedo(case):
    camera = view(shift=900.0 if case == "outside" else 0.0)
    if case == "behind":
        camera = dataclasses.replace(camera, translation=np.array([0, 0, -900.0]))
    image = np.full((SIDE, SIDE, 3), 200, np.uint8)
    mask = np.zeros((SIDE, SIDE)) if case == "mask" else None
    made = complete_texture(ATLAS, image, MODEL.mean, camera, WHITE, mask=mask)
    assert made.photographed == 0
    assert (made.source[ATLAS.covered] == ALBEDO).all()
    # Linear 0.4 is sRGB 170 or so.
    np.testing.assert_allclose(made.seen.reshape(-1, 3).mean(0), 168, atol=3)


def test_a_masked_half_is_not_taken():
    camera, truth = view(0), painted(symmetric=True)
    image = photograph(truth, camera)
    image[:, : SIDE // 2] = (255, 0, 255)
    mask = np.ones((SIDE, SIDE), np.float32)
    mask[:, : SIDE // 2 + 2] = 0
    made = complete_texture(ATLAS, image, MODEL.mean, camera, WHITE, mask=mask)
    assert (made.source == MIRROR).sum() > 0.3 * (made.source == PHOTOGRAPH).sum()
    assert difference(made.seen, truth, made.source == MIRROR).mean() < 3


def test_larger_textures_take_the_photographs_detail():
    truth, camera = painted(), view(0)
    image = photograph(truth, camera)
    small = complete_texture(ATLAS, image, MODEL.mean, camera, WHITE)
    large = complete_texture(ATLAS, image, MODEL.mean, camera, WHITE, size=512)
    assert large.seen.shape == (512, 512, 3)
    reduced = large.seen.reshape(256, 2, 256, 2, 3).mean(axis=(1, 3))
    inside = small.source == PHOTOGRAPH
    assert np.abs(reduced - small.seen)[inside].mean() < 1.5
    with pytest.raises(InputError, match="multiple"):
        complete_texture(ATLAS, image, MODEL.mean, camera, WHITE, size=300)


def test_the_size_follows_the_face():
    sizes = [
        fitting_size(MODEL, project(view(0, scale=scale), MODEL.mean)) for scale in (1, 2, 4, 64)
    ]
    assert sizes[1] == 2 * sizes[0]
    assert sizes[2] == 2 * sizes[1]
    assert sizes[3] == 4096
    tiny = project(view(0), MODEL.mean) * [0.01, 0.01, 1]
    assert fitting_size(MODEL, tiny) == 256


def test_a_maker_writes_pngs():
    camera, truth = view(0), painted()
    maker = TextureMaker(MODEL, 128)
    files = maker.files(photograph(truth, camera), MODEL.mean, camera, WHITE)
    assert list(files) == ["texture.png", "albedo.png"]
    for content in files.values():
        image = Image.open(io.BytesIO(content))
        assert (image.format, image.size) == ("PNG", (128, 128))
    own = TextureMaker(MODEL).make(photograph(truth, camera), MODEL.mean, camera, WHITE)
    assert own.seen.shape[0] == fitting_size(MODEL, project(camera, MODEL.mean))


def test_rejections():
    bare = dataclasses.replace(MODEL, uvs=None, face_uvs=None)
    camera = view(0)
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    for make in (
        lambda: TexelAtlas(bare, 64),
        lambda: TextureMaker(bare),
        lambda: fitting_size(bare, MODEL.mean),
    ):
        with pytest.raises(InputError, match="no uvs"):
            make()
    for size in (100, 32, 8192, -4):
        with pytest.raises(InputError, match="power of two"):
            TextureMaker(MODEL, size)
    with pytest.raises(InputError, match="at least 16"):
        TexelAtlas(MODEL, 8)
    with pytest.raises(InputError, match="mask"):
        unwrap(ATLAS, image, MODEL.mean, camera, mask=np.ones((5, 5)))
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        unwrap(ATLAS, image, MODEL.mean, camera, mask=np.full((SIDE, SIDE), 255.0))
    with pytest.raises(InputError, match="image"):
        unwrap(ATLAS, image[:-1], MODEL.mean, camera)
    with pytest.raises(InputError, match="left-right"):
        unwrap(TexelAtlas(PLAIN, 64), image, MODEL.mean, camera, mirrored=True)
    with pytest.raises(InputError, match="light"):
        complete_texture(ATLAS, image, MODEL.mean, camera, np.ones((4, 3)))
