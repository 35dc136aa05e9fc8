"""The report of a bench on heads: what is drawn, where, and for whom."""

import numpy as np
import pytest
from PIL import Image
from simulated_heads import write_model_heads

from facekit.evaluate import head_reports
from facekit.evaluate.head_reports import skin_mesh, write_head_report
from facekit.evaluate.heads import HeadScore, heads_report, read_heads
from facekit.evaluate.now import crop_scan


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    return read_heads(write_model_heads(tmp_path_factory.mktemp("heads") / "heads.npz", 2))


@pytest.fixture(scope="module")
def scores(heads):
    rows = []
    for head in range(2):
        count = len(crop_scan(*heads.scan(head)))
        for yaw in (0.0, 30.0):
            for method, error in (("mean_face", 2.0), ("fit", 1.0 + head)):
                errors = np.full(count, error)
                details = {"median": error, "mean": error}
                place = 3 * errors if method == "fit" else None
                rows.append(HeadScore(head, yaw, method, errors, details, place))
    rows.append(HeadScore(1, 60.0, "fit", None, {"error": "no face was found"}))
    return rows


def test_every_picture_and_the_mean_are_drawn(heads, scores, tmp_path, monkeypatch):
    drawn = {}

    def draw(path, vertices, faces, errors, **how):
        assert len(errors) == len(vertices) > faces.max()
        drawn[path.relative_to(tmp_path).as_posix()] = (errors, how["limit"])
        return path

    monkeypatch.setattr(head_reports, "draw_heat_map", draw)
    document = heads_report(scores, main="fit", seed=0, protocol={})
    write_head_report(tmp_path, scores, document, heads)
    names = [f"head00{h}_yaw{y}" for h in (0, 1) for y in (0, 30)]
    # The mean face sees no picture: its errors are drawn once, over all heads.
    assert set(drawn) == {
        *(f"fit/{kind}/{n}.png" for kind in ("heat", "heat_corresponded") for n in names),
        "fit/heat/mean.png",
        "fit/heat_corresponded/mean.png",
        "mean_face/heat/mean.png",
    }
    used, _ = skin_mesh(heads)
    crop = crop_scan(*heads.scan(1))
    errors, _ = drawn["fit/heat/head001_yaw0.png"]
    outside = np.setdiff1d(np.arange(len(used)), crop)
    assert (errors[crop] == 2).all()
    assert np.isnan(errors[outside]).all()
    assert (drawn["fit/heat_corresponded/head001_yaw30.png"][0][crop] == 6).all()
    both = np.intersect1d(crop, crop_scan(*heads.scan(0)))
    np.testing.assert_allclose(drawn["fit/heat/mean.png"][0][both], 1.5)
    rows = (tmp_path / "items.csv").read_text().splitlines()
    assert rows[0] == "name,group,person,mean_face,fit"
    assert rows[1] == "head000_yaw0,yaw 0,0,2.0,1.0"
    assert rows[-1] == "head001_yaw60,yaw 60,1,,"


def test_pictures_can_be_left_out_and_views_too(heads, scores, tmp_path):
    document = heads_report(scores, main="fit", seed=0, protocol={})
    one = [score for score in scores if score.yaw_deg == 0 and score.head == 0]
    write_head_report(tmp_path / "a", one, document, heads, view=None, heat=False)
    assert not list((tmp_path / "a").rglob("heat*"))
    assert (tmp_path / "a/items.csv").read_text().splitlines()[1] == "head000,,0,2.0,1.0"
    write_head_report(tmp_path / "b", one, document, heads, view=None)
    picture = np.asarray(Image.open(tmp_path / "b/fit/heat/head000.png"))
    assert picture.shape == (360, 745, 3)
    assert picture.std() > 20
