import json

import cv2
import numpy as np
import pytest
from simulated_heads import write_heads
from toy import ellipsoid

from facekit.errors import InputError, OutputExistsError
from facekit.geometry.cameras import project
from facekit.io.images import read_image
from facekit.io.ply import read_ply, write_ply
from facekit.io.rig import read_rig
from facekit.simulate.stage import StageOptions, write_stage
from facekit.simulate.stage_boards import BoardOptions, draw_poses, sees_board
from facekit.simulate.stage_heads import open_heads
from facekit.simulate.stage_paint import paint_head
from facekit.simulate.stage_render import SkinOptions, StageSensor, render_view
from facekit.simulate.stage_rig import RigOptions, stage_rig
from facekit.types import Mesh

CLEAN = StageSensor(np.ones(3), 0.0, 0.0)


@pytest.fixture(scope="module")
def mesh_file(tmp_path_factory):
    vertices, faces = ellipsoid()
    size = np.abs(vertices).max(axis=0)
    path = tmp_path_factory.mktemp("mesh") / "ball.ply"
    write_ply(path, Mesh(vertices / size * [70, 100, 90], faces))
    return path


@pytest.fixture(scope="module")
def painted(mesh_file):
    head = open_heads(mesh=mesh_file).head(0, 0)
    return paint_head(head, head.vertices - head.centre, np.random.default_rng(0))


@pytest.mark.parametrize("count", [1, 3, 6, 12, 30])
def test_cameras_look_at_the_middle(count):
    rig = stage_rig(RigOptions(cameras=count, size=256), 0)
    assert len(rig.cameras) == count
    for camera, centre in zip(rig.cameras.values(), rig.centres(), strict=True):
        seen = project(camera, np.zeros((1, 3)))[0]
        assert np.all(np.abs(seen[:2] - 128) < 20)
        assert abs(np.linalg.norm(centre) - 1000) < 60
        # Upright: +Y of the stage is up in the picture.
        assert project(camera, np.array([[0, 50.0, 0]]))[0, 1] < seen[1] - 5
    if count == 30:
        right = np.degrees(np.arctan2(rig.centres()[:, 0], rig.centres()[:, 2]))
        assert 78 < right.max() < 84


def test_impossible_rigs_are_refused():
    for values in ({"cameras": 0}, {"size": 8}, {"distance_mm": 10.0}, {"azimuth_deg": 200.0}):
        with pytest.raises(InputError):
            RigOptions(**values)


def test_depth_and_mask_are_the_meshs_own(painted):
    camera = stage_rig(RigOptions(cameras=3, size=160), 0).cameras["cam01"]
    view = render_view(painted, camera, SkinOptions(), CLEAN, seed=1, noise_seed=(1,))
    seen = project(camera, painted.positions)
    x, y = np.rint(seen[:, :2]).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < 160) & (y < 160)
    nearest = np.full((160, 160), np.inf)
    np.minimum.at(nearest, (y[inside], x[inside]), seen[inside, 2])
    known = view.mask & np.isfinite(nearest)
    # The edge of the outline is steep.
    known &= cv2.erode(view.mask.astype(np.uint8), np.ones((7, 7))) > 0
    assert known.sum() > 500
    assert np.median(np.abs(view.depth_mm[known] - nearest[known])) < 0.5
    assert np.all(view.depth_mm[~view.mask] == 0)


def test_a_surface_point_looks_alike_from_two_cameras(painted):
    rig = stage_rig(RigOptions(cameras=8, size=512), 0)
    one, two = rig.cameras["cam00"], rig.cameras["cam01"]
    views = [
        render_view(painted, c, SkinOptions(), CLEAN, seed=1, noise_seed=(1,)) for c in (one, two)
    ]
    rows = np.flatnonzero(painted.attributes[:, 8] > 0.8)
    samples = []
    for camera, view in zip((one, two), views, strict=True):
        seen = project(camera, painted.positions[rows])
        depth = cv2.remap(view.depth_mm, *seen[:, :2].astype(np.float32).T, cv2.INTER_NEAREST)
        assert np.median(np.abs(depth.ravel() - seen[:, 2])) < 1
        light = view.image.astype(np.float32).mean(2)
        samples.append(cv2.remap(light, *seen[:, :2].astype(np.float32).T, cv2.INTER_LINEAR))
    first, second = (s.ravel() for s in samples)
    assert np.corrcoef(first, second)[0, 1] > 0.9


def test_contrast_and_highlights_do_what_they_say(painted):
    camera = stage_rig(RigOptions(cameras=3, size=512), 0).cameras["cam01"]

    def light(skin):
        image = render_view(painted, camera, skin, CLEAN, seed=1, noise_seed=(1,)).image
        return image[200:300, 200:300].astype(float).mean(2)

    def grain(picture):
        return (picture - cv2.GaussianBlur(picture, (0, 0), 6)).std() / picture.mean()

    none, weak, strong = (grain(light(SkinOptions(contrast=c))) for c in (0.0, 0.3, 1.0))
    assert none < 0.005
    assert 2.5 * weak < strong
    assert strong > 0.012
    assert light(SkinOptions(specular=2.0)).mean() > light(SkinOptions()).mean() + 1


def test_the_picture_does_not_depend_on_the_threads(painted):
    from facekit.threads import limit_threads

    camera = stage_rig(RigOptions(cameras=3, size=160), 0).cameras["cam01"]
    sensor = StageSensor(np.array([0.9, 1.0, 1.1]), 0.4, 1.5)
    images = []
    for count in (1, 3):
        with limit_threads(count):
            view = render_view(painted, camera, SkinOptions(), sensor, seed=1, noise_seed=(1,))
            images.append(view.image)
    np.testing.assert_array_equal(images[0], images[1])


def test_boards_fill_the_stage():
    options = BoardOptions(frames=24)
    poses = draw_poses(options, 0)
    middle = np.array([*options.board.size_mm, 0]) / 2
    centres = np.array([p.rotation @ middle + p.translation for p in poses.values()])
    assert np.abs(centres).max() <= 110
    assert np.all(centres.std(0) > 40)
    rig = stage_rig(RigOptions(), 0)
    for camera in rig.cameras.values():
        assert sum(sees_board(camera, options.board, p) for p in poses.values()) >= 8
    for pose in poses.values():
        np.testing.assert_allclose(pose.rotation @ pose.rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(pose.rotation) > 0


def test_a_stage_is_written_continued_and_kept(tmp_path, mesh_file):
    options = StageOptions(
        mesh=mesh_file, rig=RigOptions(cameras=2, size=96), boards=BoardOptions(frames=2)
    )
    result = write_stage(tmp_path / "stage", options)
    out = tmp_path / "stage"
    assert [p.name for p in result.subjects] == ["s000"]
    assert len(list((out / "boards").glob("*/*.png"))) == result.board_images
    assert list(read_rig(out / "truth" / "cameras.json").cameras) == ["cam00", "cam01"]
    with np.load(out / "truth" / "s000" / "truth.npz") as truth:
        vertices, pose = truth["vertices"], truth["head_to_stage"]
    np.testing.assert_allclose(
        read_ply(out / "truth" / "s000" / "mesh.ply").vertices, vertices, atol=1e-3
    )
    np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
    picture = out / "subjects" / "s000" / "cam01.png"
    assert read_image(picture).shape == (96, 96, 3)
    before = picture.stat().st_mtime_ns
    more = StageOptions(**{**options.__dict__, "subjects": 2})
    assert [p.name for p in write_stage(out, more).subjects] == ["s000", "s001"]
    assert picture.stat().st_mtime_ns == before
    with pytest.raises(OutputExistsError):
        write_stage(out, StageOptions(**{**options.__dict__, "seed": 3}))


def test_heads_of_a_file_have_landmarks_and_occluders_hide_them(tmp_path):
    heads = write_heads(tmp_path / "heads.npz")
    common = {
        "heads": heads,
        "rig": RigOptions(cameras=2, size=192),
        "boards": BoardOptions(frames=0),
        "depth": False,
    }
    masks = {}
    for count in (0, 60):
        out = tmp_path / f"stage{count}"
        write_stage(out, StageOptions(**common, occluders=count))
        masks[count] = read_image(out / "truth" / "s000" / "masks" / "cam00.png")[..., 0] > 0
    assert (masks[0] & ~masks[60]).sum() > 30
    assert (masks[60] & ~masks[0]).sum() == 0
    document = json.loads((out / "truth" / "s000" / "landmarks.json").read_text())
    marks = np.array(document["points"]["ibug68"])
    assert marks.shape == (68, 3)
    camera = read_rig(out / "truth" / "cameras.json").cameras["cam00"]
    with np.load(out / "truth" / "s000" / "truth.npz") as truth:
        np.testing.assert_allclose(
            truth["landmarks_2d"][0], project(camera, marks)[:, :2], atol=1e-2
        )
        assert truth["base_count"] <= len(truth["vertices"])
    with pytest.raises(InputError, match="expression"):
        write_stage(tmp_path / "x", StageOptions(**common, expressions=("smile",)))


def test_sources_exclude_each_other(tmp_path, mesh_file):
    with pytest.raises(InputError, match="both"):
        open_heads(heads=tmp_path / "a.npz", mesh=mesh_file)
    with pytest.raises(InputError, match="expected one of"):
        open_heads(mesh=mesh_file).head(0, 0, "smile")
    for values in ({"subjects": -1}, {"expressions": ()}, {"supersample": 0}, {"noise": -1.0}):
        with pytest.raises(InputError):
            StageOptions(**values)
