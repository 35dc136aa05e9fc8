import numpy as np
from toy import toy_model

from facekit.export.deviation import LIMIT_MM, MESH, PICTURE, write_deviation
from facekit.export.heat import heat_colours
from facekit.io.images import read_photo
from facekit.io.ply import read_ply

MODEL = toy_model()


def test_picture_and_mesh_have_the_deviations_colours(tmp_path):
    std = np.where(MODEL.mean[:, 0] > 0, LIMIT_MM, 0.0)
    written = write_deviation(tmp_path, MODEL.mean, std, MODEL, unit="cm")
    assert [path.name for path in written] == [PICTURE, MESH]
    mesh = read_ply(tmp_path / MESH)
    np.testing.assert_allclose(mesh.vertices, MODEL.mean / 10, rtol=1e-5, atol=1e-5)
    expected = heat_colours(std, limit=LIMIT_MM)
    np.testing.assert_allclose(mesh.colours, expected, atol=1 / 255)
    image = read_photo(tmp_path / PICTURE).image.astype(float)
    # From the front: the person's left, which is image right, has the map's hot end.
    front = image[40:, :420]
    right, left = front[:, 230:330].reshape(-1, 3), front[:, 90:190].reshape(-1, 3)
    hot = (right[:, 0] > 1.5 * right[:, 2]).mean()
    assert hot > (left[:, 0] > 1.5 * left[:, 2]).mean() + 0.3
