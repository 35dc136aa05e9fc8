"""A small stage for the tests of capture: six cameras of 320 pixels, a board of large squares."""

import numpy as np

from facekit.geometry.board import Board
from facekit.geometry.cameras import project
from facekit.io.images import write_image
from facekit.simulate.stage_boards import (
    BoardOptions,
    BoardRenderer,
    board_points,
    draw_poses,
    sees_board,
)
from facekit.simulate.stage_render import StageSensor
from facekit.simulate.stage_rig import RigOptions, stage_rig

BOARD = Board("charuco", 6, 5, 40.0, 30.0)
SENSOR = StageSensor(np.ones(3), 0.5, 1.5)


def small_rig(cameras=6, size=320, seed=1):
    return stage_rig(RigOptions(cameras=cameras, size=size), seed)


def small_poses(frames=10, seed=1, board=BOARD):
    options = BoardOptions(board=board, frames=frames, reach_mm=(60.0, 60.0, 60.0))
    return draw_poses(options, seed)


def write_boards(folder, rig, poses, *, board=BOARD, sensor=SENSOR):
    """Render FOLDER/<camera>/<frame>.png and return how many there are."""
    count = 0
    for row, (name, camera) in enumerate(rig.cameras.items()):
        renderer = BoardRenderer(camera, board)
        (folder / name).mkdir(parents=True, exist_ok=True)
        for frame, pose in poses.items():
            if sees_board(camera, board, pose):
                image = renderer.render(pose, sensor, (row, int(frame)))
                write_image(folder / name / f"{frame}.png", image)
                count += 1
    return count


def exact_corners(rig, poses, board=BOARD, margin=4):
    """Yield (camera row, frame row, ids, pixels) of every picture without error."""
    for row, camera in enumerate(rig.cameras.values()):
        for column, pose in enumerate(poses.values()):
            if not sees_board(camera, board, pose):
                continue
            pixels = project(camera, board_points(board, pose))[:, :2]
            inside = (pixels > margin).all(1)
            inside &= (pixels < [camera.width - margin, camera.height - margin]).all(1)
            ids = np.flatnonzero(inside)
            if len(ids) >= 6:
                yield row, column, ids, pixels[ids]
