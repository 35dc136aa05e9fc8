import numpy as np
import pytest

from facekit.errors import InputError
from facekit.geometry.board import Board, board_from_document, standard_board


def test_points_are_opencvs():
    board = standard_board("charuco")
    np.testing.assert_allclose(board.charuco.getChessboardCorners()[:, :2], board.points, atol=1e-4)
    grid = standard_board("april")
    expected = np.array(grid.grid.getObjPoints())[..., :2].reshape(-1, 2)
    np.testing.assert_allclose(expected, grid.points, atol=1e-4)


def test_points_by_hand():
    board = Board("checker", 4, 3, 10.0)
    np.testing.assert_allclose(
        board.points, [[10, 10], [20, 10], [30, 10], [10, 20], [20, 20], [30, 20]]
    )
    tags = Board("april", 2, 1, 40.0, 30.0, "DICT_APRILTAG_36h11")
    np.testing.assert_allclose(tags.points[4:], [[40, 0], [70, 0], [70, 30], [40, 30]])
    assert tags.size_mm == (70, 30)


@pytest.mark.parametrize("kind", ["charuco", "april", "checker"])
def test_pictures_are_black_and_white_and_of_the_right_size(kind):
    board = standard_board(kind)
    picture = board.picture(48)
    assert set(np.unique(picture)) == {0, 255}
    expected = np.array(board.size_mm) * 48 / board.square_mm
    np.testing.assert_allclose([picture.shape[1], picture.shape[0]], expected, atol=1)


def test_checker_begins_black():
    picture = Board("checker", 4, 3, 10.0).picture(2)
    assert picture[0, 0] == 0
    assert picture[0, 2] == 255
    assert picture[2, 0] == 255


@pytest.mark.parametrize("kind", ["charuco", "april", "checker"])
def test_document_round_trip(kind):
    board = standard_board(kind)
    assert board_from_document(board.document()).document() == board.document()


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"kind": "dots"}, "expected one of"),
        ({"columns": 2}, "3 to 100"),
        ({"square_mm": 0.0}, "square"),
        ({"marker_mm": 25.0}, "markers"),
        ({"dictionary": "DICT_9X9"}, "dictionary"),
        ({"columns": 40, "rows": 40}, "needs 800 markers"),
        ({"kind": "checker", "columns": 9, "rows": 7}, "upside down"),
    ],
)
def test_impossible_boards_are_refused(values, match):
    with pytest.raises(InputError, match=match):
        Board(**values)


def test_damaged_documents_are_refused():
    for document in ([], {"columns": 3}, {"kind": "charuco", "size": 3}):
        with pytest.raises(InputError, match="keys"):
            board_from_document(document)
    with pytest.raises(InputError, match="number"):
        board_from_document({"kind": "charuco", "columns": "many"})
