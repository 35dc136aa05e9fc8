import numpy as np
import pytest
from stage_case import BOARD, exact_corners, small_poses, small_rig

from facekit.capture.bundle import Observations, State, _moved, adjust, jacobian, residuals
from facekit.errors import ItemError
from facekit.geometry.rotations import rotvec_to_matrix


def true_state(rig, poses):
    lenses = []
    for camera in rig.cameras.values():
        K = camera.intrinsics
        lenses.append([K[0, 0], K[1, 1], K[0, 2], K[1, 2], *camera.distortion[:4]])
    return State(
        np.array(lenses),
        np.array([c.rotation for c in rig.cameras.values()]),
        np.array([c.translation for c in rig.cameras.values()]),
        np.array([p.rotation for p in poses.values()]),
        np.array([p.translation for p in poses.values()]),
    )


def measured(rig, poses, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    parts = []
    for row, column, ids, pixels in exact_corners(rig, poses):
        n = len(ids)
        parts.append(
            Observations(
                np.full(n, row),
                np.full(n, column),
                BOARD.points[ids],
                pixels + noise * rng.standard_normal((n, 2)),
                np.full(n, max(noise, 0.01)),
            )
        )
    return Observations(*(np.concatenate(v) for v in zip(*parts, strict=True)))


def disturbed(state, seed=0):
    rng = np.random.default_rng(seed)
    c, f = len(state.lens), len(state.frame_rotation)
    turn = np.array([rotvec_to_matrix(v) for v in rng.normal(0, 0.01, (c, 3))])
    turn[0] = np.eye(3)
    spin = np.array([rotvec_to_matrix(v) for v in rng.normal(0, 0.01, (f, 3))])
    shift = rng.normal(0, 3, (c, 3))
    shift[0] = 0
    return State(
        state.lens + rng.normal(0, 1, (c, 8)) * [8, 8, 4, 4, 0.03, 0.05, 1e-3, 1e-3],
        turn @ state.camera_rotation,
        state.camera_translation + shift,
        spin @ state.frame_rotation,
        state.frame_translation + rng.normal(0, 3, (f, 3)),
    )


@pytest.fixture(scope="module")
def stage():
    rig, poses = small_rig(), small_poses(10)
    return rig, poses, true_state(rig, poses)


def test_exact_corners_have_no_residual(stage):
    rig, poses, state = stage
    assert np.abs(residuals(state, measured(rig, poses))).max() < 1e-9


def test_derivatives_are_those_of_finite_differences(stage):
    rig, poses, state = stage
    seen = measured(rig, poses).where(np.arange(40))
    state = disturbed(state)
    exact = jacobian(state, seen)
    cameras = len(state.lens)
    camera, frame = seen.camera[0], seen.frame[0]
    same = (seen.camera == camera) & (seen.frame == frame)
    columns = [14 * camera + k for k in range(14)]
    columns += [14 * cameras + 6 * frame + k for k in range(6)]
    for k, column in enumerate(columns):
        step = np.zeros(14 * cameras + 6 * len(state.frame_rotation))
        size = 1e-3 if k < 4 or 11 <= k < 14 or k >= 17 else 1e-6
        step[column] = size
        ahead, behind = residuals(_moved(state, step), seen), residuals(_moved(state, -step), seen)
        numeric = (behind - ahead) / (2 * size)
        scale = np.abs(exact[same, :, k]).max() + 1e-9
        np.testing.assert_allclose(numeric[same], exact[same, :, k], atol=2e-6 * scale + 1e-6)


def test_exact_corners_give_exact_cameras(stage):
    rig, poses, state = stage
    found = adjust(disturbed(state), measured(rig, poses))
    # The held camera's pose is the true one, so no alignment is needed.
    np.testing.assert_allclose(found.state.lens[:, :4], state.lens[:, :4], atol=1e-4)
    np.testing.assert_allclose(found.state.lens[:, 4:], state.lens[:, 4:], atol=1e-5)
    centres = [
        -np.einsum("nji,nj->ni", s.camera_rotation, s.camera_translation)
        for s in (found.state, state)
    ]
    np.testing.assert_allclose(centres[0], centres[1], atol=1e-4)
    assert np.abs(found.residuals).max() < 1e-5


def test_the_stated_covariance_is_what_repeats_show(stage):
    rig, poses, state = stage
    focal, place, stated = [], [], []
    for seed in range(16):
        found = adjust(state, measured(rig, poses, noise=0.1, seed=seed), rounds=2)
        focal.append(found.state.lens[:, 0])
        place.append(found.state.camera_translation[1:])
        stated.append(found.covariance)
    stated = np.mean(stated, axis=0)
    ratio = np.std(focal, axis=0) / np.sqrt(stated[:, 0, 0])
    assert 0.75 < np.median(ratio) < 1.3
    expected = np.sqrt(np.einsum("nii->ni", stated[1:, 11:, 11:]))
    assert 0.75 < np.median(np.std(place, axis=0) / expected) < 1.3
    assert np.all(stated[0, 8:] == 0)


def test_mistaken_corners_are_left_out(stage):
    rig, poses, state = stage
    seen = measured(rig, poses, noise=0.02)
    pixels = seen.pixels.copy()
    pixels[::25] += 3.0
    found = adjust(disturbed(state), seen._replace(pixels=pixels))
    assert not found.inlier[::25].any()
    assert found.inlier.mean() > 0.94
    stated = np.sqrt(found.covariance[:, 0, 0])
    assert np.all(np.abs(found.state.lens[:, 0] - state.lens[:, 0]) < 4 * stated)


def test_a_camera_without_corners_is_an_error(stage):
    rig, poses, state = stage
    seen = measured(rig, poses)
    with pytest.raises(ItemError, match="determined"):
        adjust(state, seen.where(seen.camera != 3))
