import json

import pytest

from facekit.errors import InputError, OutputExistsError
from facekit.runs import RunFolder, file_sha256


def open_run(folder, **changes):
    values = {"command": "fit", "options": {"seed": 0}, "assets": {"model": "abc"}} | changes
    return RunFolder(folder, **values)


def test_a_finished_item_is_done_until_its_content_or_outputs_change(tmp_path):
    run = open_run(tmp_path / "out")
    (tmp_path / "out" / "x.txt").write_text("result")
    run.record("x", {"sha256": "1", "outputs": ["x.txt"]})
    run.close()
    again = open_run(tmp_path / "out")
    assert again.is_done("x", "1")
    assert not again.is_done("x", "2")
    assert not again.is_done("y", "1")
    (tmp_path / "out" / "x.txt").unlink()
    assert not again.is_done("x", "1")


def test_an_interrupted_run_keeps_what_was_finished(tmp_path):
    run = open_run(tmp_path / "out")
    run.record("x", {"sha256": "1", "outputs": []})
    run.record("y", {"sha256": "2", "outputs": []})
    journal = tmp_path / "out" / ".journal.jsonl"
    journal.write_text(journal.read_text()[:-9])  # the last line was cut by a power loss
    again = open_run(tmp_path / "out")
    assert again.is_done("x", "1")
    assert not again.is_done("y", "2")


def test_a_failed_item_is_tried_again(tmp_path):
    run = open_run(tmp_path / "out")
    run.record("x", {"sha256": "1", "outputs": [], "error": "no face"})
    run.close()
    assert not open_run(tmp_path / "out").is_done("x", "1")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"options": {"seed": 1}}, "seed: 0 there, 1 now"),
        ({"assets": {"model": "def"}}, "model"),
        ({"command": "label"}, "command"),
    ],
)
def test_other_options_are_refused_and_named(tmp_path, change, named):
    run = open_run(tmp_path / "out")
    run.record("x", {"sha256": "1", "outputs": []})
    run.close()
    with pytest.raises(OutputExistsError, match=named):
        open_run(tmp_path / "out", **change)
    replaced = open_run(tmp_path / "out", overwrite=True, **change)
    assert not replaced.is_done("x", "1")


def test_a_folder_of_something_else_is_not_written_into(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputExistsError, match="no facekit manifest"):
        open_run(tmp_path)
    open_run(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_an_unwritable_output_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        open_run(tmp_path / "file" / "out")


def test_a_newer_version_only_warns(tmp_path, caplog):
    open_run(tmp_path / "out").close()
    manifest = tmp_path / "out" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"facekit_version": "99.0"}))
    open_run(tmp_path / "out")
    assert "99.0" in caplog.text


def test_a_manifest_of_something_else_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(InputError, match="schema"):
        open_run(tmp_path)


def test_forgotten_items_whose_outputs_are_gone(tmp_path):
    run = open_run(tmp_path / "out")
    (tmp_path / "out" / "kept.txt").write_text("")
    run.record("kept", {"sha256": "1", "outputs": ["kept.txt"]})
    run.record("gone", {"sha256": "1", "outputs": ["gone.txt"]})
    run.keep_only([])
    assert set(run.records) == {"kept"}


def test_sha256_of_a_file(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert file_sha256(tmp_path / "empty").startswith("e3b0c44298fc1c14")
