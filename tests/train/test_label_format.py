import json

import numpy as np
import pytest
import toy

from facekit.errors import InputError
from facekit.geometry.alignment import SimilarityTransform
from facekit.geometry.cameras import project
from facekit.geometry.crop import five_crop
from facekit.geometry.crop_pose import encode_pose
from facekit.geometry.rotations import rotvec_to_matrix
from facekit.learn.shards import Sample
from facekit.morphable.layout import NAMES, layout_of_document, model_layout
from facekit.render.shade import sh_shading
from facekit.simulate.sampler import PortraitOptions, PortraitSampler
from facekit.train.label_format import (
    COLUMNS,
    crop_of_facts,
    dataset_document,
    decode_label,
    encode_label,
    label_crop,
    label_vectors,
    make_label,
    params_in_crop,
    pose_deviations,
    quality_weight,
    sample_id,
    uncrop_params,
)
from facekit.train.render_labels import portrait_label, portrait_params
from facekit.types import Camera

OPTIONS = PortraitOptions(size=96, face_fraction=(0.4, 0.6), views=2, supersample=1)


@pytest.fixture(scope="module")
def model():
    return toy.toy_model()


@pytest.fixture(scope="module")
def portraits(model):
    sampler = PortraitSampler(model, seed=3, options=OPTIONS)
    return [sampler.sample(i) for i in range(3)]


@pytest.fixture(scope="module")
def label(model, portraits):
    return portrait_label(portraits[1], model, seed=3, index=1, person=0)


def reprojected(model, params):
    camera = Camera(
        params["intrinsics"], params["rotation"], params["translation_mm"], *params["image_size"]
    )
    vertices = model.shape(params["identity"], params["expression"])
    return project(camera, model.landmark_points("ibug68", vertices))[:, :2]


def test_a_rendered_label_lies_on_its_crop_exactly(model, portraits):
    for number, portrait in enumerate(portraits):
        made = portrait_label(portrait, model, seed=3, index=number, person=0)
        seen = reprojected(model, made.params)
        np.testing.assert_allclose(seen, made.params["landmarks_2d"], atol=2e-3)
        np.testing.assert_allclose(
            seen, made.crop.apply(portrait.landmarks_2d.astype(float)), atol=2e-3
        )
        assert made.image.shape == (256, 256, 3)
        # The mask is the portrait's, moved.
        y, x = np.nonzero(made.mask)
        back = made.crop.inverse().apply(np.stack([x, y], 1).astype(float)).round().astype(int)
        assert portrait.face_mask[back[:, 1], back[:, 0]].mean() > 0.97


def test_labels_come_back_from_their_bytes(model, label):
    sample = encode_label("3-0001", label)
    assert isinstance(sample, Sample)
    assert set(sample.files) == {"jpg", "npz", "mask.png", "json"}
    assert set(sample.columns) == set(COLUMNS)
    again = decode_label(sample.files, "here")
    np.testing.assert_array_equal(again.mask, label.mask)
    assert np.abs(again.image.astype(int) - label.image).mean() < 4
    for key in ("identity", "rotation", "intrinsics", "light", "landmarks_2d"):
        np.testing.assert_allclose(again.params[key], label.params[key], rtol=1e-6, atol=1e-6)
    for name in NAMES:
        np.testing.assert_allclose(again.deviations[name], label.deviations[name])
    assert json.loads(sample.files["json"])["id"] == "3-0001"
    assert again.facts["crop"] == label.facts["crop"]
    assert encode_label("3-0001", label).files == sample.files
    some = decode_label(sample.files, "here", keys=("identity", "identity_std"))
    assert set(some.params) == {"identity", "meta", "scale_source"}
    np.testing.assert_array_equal(some.deviations["identity"], again.deviations["identity"])


@pytest.mark.parametrize(
    ("missing", "what"), [("jpg", "no image"), ("npz", "no label"), ("mask.png", "no mask")]
)
def test_a_label_without_a_part_is_named(label, missing, what):
    files = dict(encode_label("x", label).files)
    del files[missing]
    with pytest.raises(InputError, match=rf"shard-7: the sample 'x': has {what}"):
        decode_label(files, "shard-7: the sample 'x'")


def test_unreadable_parts_are_named(label):
    files = dict(encode_label("x", label).files)
    with pytest.raises(InputError, match="here: its image or mask"):
        decode_label({**files, "jpg": b"no picture"}, "here")
    with pytest.raises(InputError, match="here: expected a params file"):
        decode_label({**files, "npz": b"no archive"}, "here")


def test_params_turn_with_the_crop_and_back(model, portraits):
    portrait = portraits[2]
    params = portrait_params(portrait, model)
    turn = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    crop = SimilarityTransform(1.7, turn, np.array([20.0, -13.0]))
    inside = params_in_crop(params, crop)
    np.testing.assert_allclose(reprojected(model, inside), inside["landmarks_2d"], atol=2e-3)
    # A surface seen in the crop is lit as it was in the photograph.
    normal = np.array([[0.3, -0.5, -0.812]])
    turned = normal @ np.block([[turn, np.zeros((2, 1))], [np.zeros((1, 2)), np.eye(1)]]).T
    np.testing.assert_allclose(
        sh_shading(normal, params["light"]), sh_shading(turned, inside["light"]), rtol=1e-4
    )
    size = portrait.view.width
    back = uncrop_params(inside, crop, width=size, height=size)
    for key in ("rotation", "translation_mm", "intrinsics", "light", "landmarks_2d", "image_size"):
        np.testing.assert_allclose(back[key], params[key], rtol=1e-5, atol=1e-5)
    bent = {**params, "distortion": np.array([0.1, 0, 0, 0, 0])}
    with pytest.raises(InputError, match="distortion"):
        params_in_crop(bent, crop)


def test_vectors_are_what_the_photograph_shows_in_its_crop(model, portraits, label):
    params = portrait_params(portraits[1], model)
    layout = model_layout(model)
    vector, deviation = label_vectors(layout, label)
    crop = label_crop(params["landmarks_2d"])
    pose = encode_pose(
        params["rotation"], params["translation_mm"], params["intrinsics"], crop, size=256
    )
    parts = layout.unpack(vector)
    np.testing.assert_allclose(parts["rotation"], pose.rotation, atol=1e-5)
    np.testing.assert_allclose(parts["translation"], pose.translation, atol=1e-5)
    np.testing.assert_allclose(parts["identity"], params["identity"])
    assert (deviation == 0).all()
    document = dataset_document(model, kind="simulated")
    assert layout_of_document(document["layout"], "here") == layout
    assert document["crop"] == {"id": "five-v1", "size": 256}


def test_pose_deviations_are_those_of_random_poses(model, portraits):
    params = portrait_params(portraits[0], model)
    crop = label_crop(params["landmarks_2d"])
    rng = np.random.default_rng(0)
    spread = np.diag([0.01, 0.02, 0.015, 1.0, 1.5, 8.0, 0.05])
    mix = spread @ (np.eye(7) + 0.3 * rng.standard_normal((7, 7)))
    covariance = mix @ mix.T
    found = pose_deviations(params, covariance, crop)
    drawn = []
    for step in rng.multivariate_normal(np.zeros(7), covariance, 3000):
        camera = np.array(params["intrinsics"])
        camera[[0, 1], [0, 1]] *= np.exp(step[6])
        moved = (params["translation_mm"] + step[3:6]) * np.exp(step[6])
        turned = rotvec_to_matrix(step[:3]) @ params["rotation"]
        drawn.append(np.concatenate(encode_pose(turned, moved, camera, crop, size=256)))
    expected = np.std(drawn, axis=0)
    both = np.concatenate([found["rotation"], found["translation"]])
    np.testing.assert_allclose(both, expected, rtol=0.15, atol=1e-3)
    # Without a free focal length there is a row less.
    fixed = pose_deviations(params, covariance[:6, :6], crop)
    assert fixed["rotation"].shape == (6,)


def test_crops_of_another_rule_are_refused(label):
    facts = {**label.facts, "id": "x", "crop": {**label.facts["crop"], "id": "five-v0"}}
    with pytest.raises(InputError, match="label x: expected the crop five-v1, got five-v0"):
        crop_of_facts(facts)
    crop = crop_of_facts(label.facts)
    np.testing.assert_allclose(crop.rotation @ crop.rotation.T, np.eye(2), atol=1e-12)


def test_a_mask_of_the_photograph_is_cropped(model, portraits, label):
    portrait = portraits[1]
    again = make_label(
        portrait.image,
        portrait_params(portrait, model),
        mask=portrait.face_mask,
        deviations=label.deviations,
        facts={},
    )
    np.testing.assert_array_equal(again.mask, label.mask)
    five = five_crop(np.array([[30.0, 40], [60, 40], [45, 50], [35, 65], [55, 65]]), size=256)
    other = make_label(
        portrait.image,
        portrait_params(portrait, model),
        mask=portrait.face_mask,
        deviations=label.deviations,
        facts={},
        crop=five,
    )
    np.testing.assert_allclose(crop_of_facts(other.facts).matrix(), five.matrix())


def test_ids_are_plain_and_different_and_weights_never_nothing():
    assert sample_id("00012") == "00012"
    ids = [sample_id(key) for key in ("a/b", "a_b", "a.b", "á", "x" * 90)]
    assert len(set(ids)) == 5
    assert all(i.replace("-", "").replace("_", "").isalnum() for i in ids)
    assert quality_weight(0.0) == 0.02
    assert quality_weight(0.7) == 0.7
