"""One small simulated capture for the tests of scans: eight cameras of 288 pixels."""

from facekit.simulate.stage import StageOptions, write_stage
from facekit.simulate.stage_boards import BoardOptions
from facekit.simulate.stage_render import SkinOptions
from facekit.simulate.stage_rig import RigOptions


def write_small_stage(folder, *, cameras=8, size=288):
    options = StageOptions(
        rig=RigOptions(cameras=cameras, size=size),
        boards=BoardOptions(frames=0),
        skin=SkinOptions(contrast=1.5),
        depth=False,
        blur_px=0.3,
    )
    write_stage(folder, options)
    return folder
