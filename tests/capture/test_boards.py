import numpy as np
import pytest
from stage_case import BOARD, SENSOR, small_poses, small_rig

from facekit.capture.boards import BoardFinder
from facekit.geometry.board import Board
from facekit.geometry.cameras import project
from facekit.simulate.stage_boards import BoardRenderer, board_points, sees_board

KINDS = {
    "charuco": BOARD,
    "april": Board("april", 5, 4, 48.0, 36.0, "DICT_APRILTAG_36h11"),
    "checker": Board("checker", 7, 6, 34.0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_corners_are_where_they_were_drawn(kind):
    board = KINDS[kind]
    rig = small_rig(size=400)
    poses = small_poses(8, board=board)
    camera = list(rig.cameras.values())[4]
    renderer, finder = BoardRenderer(camera, board), BoardFinder(board)
    errors, frames = [], 0
    for pose in poses.values():
        if not sees_board(camera, board, pose):
            continue
        exact = project(camera, board_points(board, pose))[:, :2]
        sighting = finder.find(renderer.render(pose, SENSOR, (1, 2)))
        assert sighting.size == (400, 400)
        if sighting.found:
            frames += 1
            errors.append(sighting.pixels - exact[sighting.ids])
    assert frames >= 3
    distance = np.linalg.norm(np.concatenate(errors), axis=1)
    assert np.median(distance) < (0.06 if kind == "april" else 0.03)
    assert distance.max() < 0.5


def test_a_turned_checkerboard_keeps_its_corners_names():
    board = KINDS["checker"]
    camera = list(small_rig(size=400).cameras.values())[4]
    pose = next(p for p in small_poses(8, board=board).values() if sees_board(camera, board, p))
    image = BoardRenderer(camera, board).render(pose, SENSOR, (1, 2))
    finder = BoardFinder(board)
    upright, turned = finder.find(image), finder.find(np.ascontiguousarray(image[::-1, ::-1]))
    assert upright.found
    np.testing.assert_allclose(turned.pixels, 399 - upright.pixels, atol=0.05)


def test_mirrored_and_empty_pictures_are_told_apart():
    camera = list(small_rig(size=400).cameras.values())[4]
    pose = next(p for p in small_poses(8).values() if sees_board(camera, BOARD, p))
    image = BoardRenderer(camera, BOARD).render(pose, SENSOR, (1, 2))
    finder = BoardFinder(BOARD)
    assert finder.find(image).found
    flipped = finder.find(np.ascontiguousarray(image[:, ::-1]))
    assert flipped.mirrored
    assert not flipped.found
    blank = finder.find(np.full((400, 400), 90, np.uint8))
    assert not blank.mirrored
    assert not blank.found


def test_a_checkerboard_that_is_shifted_by_a_row_is_refused():
    board = KINDS["checker"]
    camera = list(small_rig(size=400).cameras.values())[4]
    pose = next(p for p in small_poses(8, board=board).values() if sees_board(camera, board, p))
    image = BoardRenderer(camera, board).render(pose, SENSOR, (1, 2))
    finder = BoardFinder(board)
    shape = (board.rows - 1, board.columns - 1, 2)

    def corners(offset):
        flat = board.points + [0, offset]
        return project(camera, flat @ pose.rotation[:, :2].T + pose.translation)[:, :2].reshape(
            shape
        )

    assert finder._squares_match(image, corners(0.0))
    for wrong in (corners(0.0)[::-1, ::-1], corners(34.0), corners(-34.0)):
        assert not finder._squares_match(image, wrong)
