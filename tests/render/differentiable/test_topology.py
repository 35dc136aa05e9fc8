import numpy as np
import pytest
import toy

from facekit.errors import InputError
from facekit.render.differentiable.topology import Topology

# Two triangles that share an edge, and a third on the same edge.
FAN = np.array([[0, 1, 2], [1, 0, 3], [0, 1, 4]], np.int32)


def test_rows_around_a_vertex_name_its_faces_and_neighbours():
    _, faces = toy.ellipsoid(7, 9)
    topology = Topology(faces, int(faces.max()) + 2)
    for v in (0, 5, int(faces.max())):
        rows = topology.around[topology.offsets[v] : topology.offsets[v + 1]]
        np.testing.assert_array_equal(rows[:, 0], np.flatnonzero((faces == v).any(1)))
        for f, after, before in rows:
            turned = [list(np.roll(faces[f], -k)) for k in range(3)]
            assert [v, after, before] in turned
    assert topology.offsets[-1] == topology.offsets[-2] == 3 * len(faces)


def test_a_closed_mesh_has_each_edge_once_with_two_faces():
    _, faces = toy.ellipsoid(7, 9)
    edges = Topology(faces, int(faces.max()) + 1).edges
    assert len(edges) == 3 * len(faces) // 2
    assert edges[:, 3].min() >= 0
    for p, q, f, g in edges:
        assert {p, q} <= set(faces[f]) & set(faces[g])
        assert f != g


def test_borders_and_edges_of_three_faces_have_a_row_for_each_face():
    edges = Topology(FAN, 5).edges
    alone = edges[edges[:, 3] < 0]
    assert len(edges) == len(alone) == 3 + 6
    assert sorted(row[2] for row in alone if set(row[:2]) == {0, 1}) == [0, 1, 2]


def test_faces_that_name_no_vertex_are_refused():
    with pytest.raises(InputError, match=r"vertex indices in \[0, 4\)"):
        Topology(FAN, 4)
