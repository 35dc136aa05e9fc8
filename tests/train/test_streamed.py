import json
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
import toy
from labelled import write_model
from torch.utils.data import DataLoader

from facekit.errors import InputError, OutputExistsError
from facekit.learn.shards import ShardReader, parse_share
from facekit.morphable.layout import model_layout
from facekit.simulate.sampler import PortraitOptions, PortraitSampler
from facekit.train.labels import FaceTensors, LabelledShards, certainty_of
from facekit.train.render_labels import (
    RenderedShards,
    portrait_label,
    portrait_params,
    write_rendered_shards,
)
from facekit.train.streamed import STREAM, FaceStream, StreamConfig, StreamedFaces, collate

SMALL = PortraitOptions(size=64, face_fraction=(0.5, 0.6), views=2, supersample=1, expressions=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def request_(model):
    return RenderedShards(model, 3, 1.0, 0.0, SMALL, per_shard=4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, request_):
    folder = tmp_path_factory.mktemp("whole") / "labels"
    result = write_rendered_shards(folder, request_, count=10)
    assert result == (10, 10)
    return folder


def tree(folder):
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.glob("[!.]*"))
        if path.suffix in (".tar", ".csv") or path.name == "dataset.json"
    }


def test_parts_and_processes_make_what_one_run_makes(tmp_path, request_, whole):
    for text, jobs in (("1/2", 1), ("0/2", 2)):
        write_rendered_shards(
            tmp_path / "x", request_, count=10, share=parse_share(text), jobs=jobs
        )
    assert tree(tmp_path / "x") == tree(whole)
    assert len(tree(whole)) == 5


def test_a_killed_run_goes_on_where_it_was(tmp_path, request_, whole):
    def kill(done, total):
        assert total == 10
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_rendered_shards(tmp_path / "x", request_, count=10, progress=kill)
    assert (tmp_path / "x" / "shard-00000.tar").exists()
    assert not (tmp_path / "x" / "shard-00001.tar").exists()
    assert write_rendered_shards(tmp_path / "x", request_, count=10) == (10, 6)
    assert tree(tmp_path / "x") == tree(whole)
    assert write_rendered_shards(tmp_path / "x", request_, count=10) == (10, 0)
    with pytest.raises(OutputExistsError, match="seed"):
        write_rendered_shards(tmp_path / "x", replace(request_, seed=4), count=10)


def test_a_person_is_in_one_split_and_has_many_expressions(whole):
    labels = [LabelledShards(whole).label(i) for i in range(10)]
    by_person = {}
    for label in labels:
        by_person.setdefault(label.facts["person"], []).append(label)
    assert len(by_person) == 5
    for views in by_person.values():
        assert len({v.facts["split"] for v in views}) == 1
        one, two = (v.params for v in views)
        np.testing.assert_array_equal(one["identity"], two["identity"])
    with tarfile.open(whole / "shard-00002.tar") as archive:
        facts = json.load(archive.extractfile("3-00000008.json"))
    assert facts["source"] == "seed 3, picture 8"
    assert facts["quality"] == facts["weight"] == 1.0


def test_shards_are_a_data_set_by_split(whole, model):
    everything = LabelledShards(whole)
    splits = [LabelledShards(whole, split=s) for s in ("train", "validation", "held_out")]
    assert len(everything) == sum(map(len, splits)) == 10
    face = everything.face(3)
    assert face.image.shape == (256, 256, 3)
    assert (face.weight, face.certainty) == (1.0, 1.0)
    items = FaceTensors(everything, everything.layout, size=64)
    batch = next(iter(DataLoader(items, batch_size=4, collate_fn=collate)))
    assert batch["image"].shape == (4, 3, 64, 64)
    assert batch["image"].dtype == torch.uint8
    assert batch["coefficients"].shape == (4, everything.layout.length)
    with pytest.raises(InputError, match=r"dataset.json"):
        LabelledShards(whole / "none")


def test_a_damaged_shard_is_named(tmp_path, request_):
    write_rendered_shards(tmp_path / "x", request_, count=4)
    path = tmp_path / "x" / "shard-00000.tar"
    content = bytearray(path.read_bytes())
    content[ShardReader(tmp_path / "x").rows[2]["offset"] + 600] ^= 1
    path.write_bytes(content)
    faces = LabelledShards(tmp_path / "x")
    assert faces.face(1).weight == 1
    with pytest.raises(InputError, match=r"shard-00000.tar: the sample '3-00000002' is damaged"):
        faces.face(2)


def test_a_stream_has_exact_labels_and_a_fixed_order(model):
    config = StreamConfig(model=model, seed=5, count=12, options=SMALL)
    faces = StreamedFaces(config)
    assert faces.layout == model_layout(faces.model)
    assert len(faces) == 12
    with pytest.raises(IndexError):
        faces.face(12)
    stream = FaceStream(config, size=48, window=2)
    order = list(stream.order())
    assert sorted(order) == list(range(12))
    assert sorted(order[:4]) == [0, 1, 2, 3]
    items = list(stream)
    tensors = FaceTensors(faces, faces.layout, size=48)
    for number, item in zip(order, items, strict=True):
        expected = tensors[number]
        assert torch.equal(item["image"], expected["image"])
        assert torch.equal(item["coefficients"], expected["coefficients"])
    assert stream.drawn == 12
    assert stream.rate > 0
    assert stream.share(stream.rate / 2) == 1
    assert stream.share(4 * stream.rate) == pytest.approx(0.25)
    # It goes on in the middle of a window as it would have.
    rest = list(FaceStream(config, size=48, window=2, start=5))
    assert [torch.equal(a["image"], b["image"]) for a, b in zip(rest, items[5:], strict=True)]
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(rest, items[5:], strict=True))


@pytest.mark.slow
def test_processes_change_nothing_in_a_stream(model):
    config = StreamConfig(model=model, seed=5, count=12, options=SMALL)
    one = list(FaceStream(config, size=48, window=2))
    two = list(FaceStream(config, size=48, window=2, jobs=2))
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(one, two, strict=True))
    # Left early, it leaves no process behind.
    some = iter(FaceStream(config, size=48, window=2, jobs=2))
    next(some)
    some.close()


def test_bad_requests_are_refused(tmp_path, model, request_):
    with pytest.raises(InputError, match="multiple of 2 views"):
        StreamConfig(model=model, count=5, options=SMALL)
    with pytest.raises(InputError, match="multiple of 2 views"):
        replace(request_, per_shard=3)
    with pytest.raises(InputError, match="at least 1"):
        write_rendered_shards(tmp_path, request_, count=0)
    with pytest.raises(InputError, match="window"):
        FaceStream(StreamConfig(model=model, options=SMALL), window=0)
    assert STREAM.views > 1
    assert certainty_of(np.ones(5)) == 0
    assert certainty_of(np.zeros(0)) == 1


def test_pictures_may_be_painted_with_the_models_own_albedo():
    plain = toy.toy_model()
    grey = np.full((plain.num_vertices, 3), 0.4, np.float32)
    modes = np.stack([np.tile([0.1, -0.1, 0.0], (plain.num_vertices, 1))]).astype(np.float32)
    model = replace(plain, albedo_mean=grey, albedo_modes=modes)
    options = replace(SMALL, albedo=0.5, glasses=0.0, occluders=0.0)
    sampler = PortraitSampler(model, seed=1, options=options)
    found = [sampler.sample(i) for i in range(12)]
    painted = [p for p in found if p.subject.vertex_albedo is not None]
    assert 2 < len(painted) < 10
    reddish = []
    for portrait in painted:
        params = portrait_params(portrait, model)
        np.testing.assert_array_equal(params["albedo"], portrait.subject.albedo)
        label = portrait_label(portrait, model, seed=1, index=0, person=0)
        assert (label.deviations["albedo"] == 0).all()
        # The picture shows it: red against green goes with the coefficient.
        seen = portrait.image[portrait.face_mask].astype(float).mean(0)
        light = (seen[0] + 1) / (seen[1] + 1)
        reddish.append((float(params["albedo"][0]), light))
    assert np.corrcoef(np.array(reddish).T)[0, 1] > 0.7
    drawn = next(p for p in found if p.subject.vertex_albedo is None)
    assert portrait_params(drawn, model)["albedo"].shape == (1,)
    label = portrait_label(drawn, model, seed=1, index=0, person=0)
    assert (label.deviations["albedo"] == 1).all()
    # A model without modes is drawn, whatever the share.
    other = PortraitSampler(plain, seed=1, options=options).sample(0)
    assert other.subject.vertex_albedo is None
