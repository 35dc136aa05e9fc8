import json

import numpy as np
import pytest
from simulated_heads import write_heads

from facekit.cli.main import run
from facekit.errors import InputError, OutputExistsError
from facekit.evaluate.now_dataset import open_dataset, read_scan
from facekit.evaluate.simulated import (
    CHALLENGES,
    PICTURES,
    SimulatedOptions,
    build_benchmark,
    head_subject,
    landmark_truth,
    picked_points,
    pictures_sha256,
)
from facekit.io.images import read_image
from facekit.io.meshes import read_mesh, write_mesh
from facekit.io.pp import read_pp


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("simulated")
    heads = write_heads(root / "heads.npz")
    options = SimulatedOptions(heads, count=2, size=64, seed=3)
    return root, options, build_benchmark(root / "b", options)


def test_layout_is_nows(built):
    _, options, benchmark = built
    assert len(benchmark.images) == options.count * sum(PICTURES.values()) == 16
    dataset = open_dataset(benchmark.root)
    assert dataset.split == "validation"
    assert [image.challenge for image in dataset.images[:8]] == [
        c for c in CHALLENGES for _ in range(PICTURES[c])
    ]
    for image in dataset.images:
        assert read_image(benchmark.root / image.line).shape == (64, 64, 3)
    scan = read_scan(dataset, dataset.images[0].subject)
    number = int(dataset.images[0].subject[-3:])
    subject, skin = head_subject(options, number)
    np.testing.assert_allclose(
        scan.vertices, subject.neutral[np.unique(subject.faces[skin])], atol=1e-4
    )
    np.testing.assert_allclose(
        scan.landmarks, subject.neutral_landmarks[[36, 39, 42, 45, 33, 48, 54]], atol=1e-4
    )
    # The reference reader takes lines 8 to 14.
    text = next((benchmark.root / "scans_lmks_onlypp").rglob("*.pp")).read_text().splitlines()
    assert all("<point" in line for line in text[8:15])
    assert "<point" not in text[7]


def test_the_points_are_where_the_heads_are(built):
    _, _, benchmark = built
    truth = landmark_truth(benchmark)
    assert truth.points.shape == (16, 68, 2)
    assert truth.name(0) == benchmark.images[0]
    assert (truth.eye_distance > 5).all()
    middle = truth.points.mean(axis=1)
    assert (np.abs(middle - 32) < 20).all()


def test_same_seed_same_pictures_in_any_order(built, tmp_path):
    root, options, benchmark = built
    again = build_benchmark(tmp_path / "b", options, jobs=2)
    assert pictures_sha256(again) == pictures_sha256(benchmark)
    other = build_benchmark(
        tmp_path / "c", SimulatedOptions(root / "heads.npz", count=2, size=64, seed=4)
    )
    assert pictures_sha256(other) != pictures_sha256(benchmark)
    lost = again.root / "iphone_pictures" / again.images[5]
    lost.unlink()
    seen = []
    build_benchmark(tmp_path / "b", options, progress=lambda *n: seen.append(n))
    assert seen == [(1, 1)]
    assert lost.is_file()


def test_another_benchmark_is_never_overwritten(built, tmp_path):
    root, _, benchmark = built
    with pytest.raises(OutputExistsError, match="seed"):
        build_benchmark(benchmark.root, SimulatedOptions(root / "heads.npz", count=2, size=64))
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(OutputExistsError, match="not empty"):
        build_benchmark(tmp_path, SimulatedOptions(root / "heads.npz", count=1, size=64))
    with pytest.raises(InputError, match="0 \\(all\\) to 3"):
        build_benchmark(tmp_path / "x", SimulatedOptions(root / "heads.npz", count=9, size=64))
    with pytest.raises(InputError, match="count >= 1"):
        SimulatedOptions(count=0)


def test_picked_points_come_back(tmp_path):
    points = np.random.default_rng(0).normal(size=(7, 3))
    (tmp_path / "a.pp").write_text(picked_points(points))
    np.testing.assert_allclose(read_pp(tmp_path / "a.pp").points, points, atol=1e-5)


def test_command_scores_other_methods(built, tmp_path, capsys):
    """The scan itself is a method without error; with noise it is a worse one."""
    heads = built[0] / "heads.npz"
    benchmark = build_benchmark(
        tmp_path / "out/benchmark", SimulatedOptions(heads, count=1, size=64)
    )
    for image in benchmark.images:
        subject = image.split("/")[0]
        mesh = read_mesh(benchmark.root / f"scans/{subject}/scan.obj")
        marks = read_pp(benchmark.root / f"scans_lmks_onlypp/{subject}/scan.pp").points
        noise = np.random.default_rng(0).normal(0, 1.0, mesh.vertices.shape)
        for name, vertices in (("exact", mesh.vertices), ("noisy", mesh.vertices + noise)):
            path = (tmp_path / name / image).with_suffix(".obj")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_mesh(path, type(mesh)(vertices, mesh.faces))
            np.save(path.with_suffix(".npy"), marks)
    arguments = ["eval", "all", "--heads", str(heads), "--count", "1", "--size", "64", "--no-own"]
    arguments += ["-o", str(tmp_path / "out")]
    assert run([*arguments, str(tmp_path / "exact"), str(tmp_path / "noisy")]) == 0
    assert "now_metrical" in capsys.readouterr().out
    document = json.loads((tmp_path / "out/report.json").read_text())
    assert document["metrics"]["median"] < 0.01
    assert document["protocol"]["version"] == 1
    assert document["protocol"]["pictures_sha256"] == pictures_sha256(benchmark)
    now = document["benchmarks"]["now"]
    assert now["comparisons"]["noisy"]["mean_difference"] > 0.3
    assert set(now["controls"]) >= {"mean_face"}
    page = (tmp_path / "out/results.md").read_text()
    assert "| method | median | mean | std | neutral, median | expressions, median |" in page
    assert any(line.startswith("| exact | 0.00") for line in page.splitlines())
    assert "--heads heads.npz --count 1 --size 64 --no-own -o bench exact=exact noisy=noisy" in page
    row = next(line for line in page.splitlines() if line.startswith("| noisy | exact | +"))
    assert row.endswith("| undecided |")  # one head says nothing
    assert "| noisy | mean_face |" in page
    assert set(now["against_controls"]) == {"exact", "noisy"}
    assert (tmp_path / "out/now/noisy/heat").is_dir()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--no-own"], 2),
        (["--landmarks", "files"], 2),
        (["facekit-fast=x"], 2),
        (["--preset", "slow"], 2),
        (["--truth", "real"], 2),
        (["--heads", "none.npz"], 3),
    ],
)
def test_what_cannot_start(tmp_path, capsys, arguments, code):
    assert run(["eval", "all", "-o", str(tmp_path / "o"), "--count", "1", *arguments]) == code
    assert capsys.readouterr().out == ""


def test_without_heads_the_builtin_model_gives_them(tmp_path):
    subject, skin = head_subject(SimulatedOptions(count=1), 0)
    assert skin.any()
    assert len(skin) == len(subject.faces)
    other, _ = head_subject(SimulatedOptions(count=1), 1)
    assert np.abs(other.neutral - subject.neutral).max() > 1
