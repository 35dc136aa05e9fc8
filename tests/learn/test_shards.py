import csv
import pickle
import tarfile

import numpy as np
import pytest

from facekit.errors import InputError, UsageError
from facekit.learn.shards import (
    Sample,
    ShardFolder,
    ShardReader,
    Share,
    parse_share,
    shard_name,
    token_of,
)


def sample(number):
    rng = np.random.default_rng(number)
    content = rng.integers(0, 256, int(rng.integers(1, 3000)), dtype=np.uint8).tobytes()
    files = {"jpg": content, "mask.png": b"mask", "json": b"{}"}
    return Sample(f"s{number:03d}", files, {"quality": number / 10, "split": "train"})


def write(folder, numbers=range(3), per_shard=4, notes=()):
    shards = ShardFolder(folder, ("quality", "split"))
    for shard in numbers:
        some = (sample(i) for i in range(shard * per_shard, (shard + 1) * per_shard))
        shards.write(shard, token_of(shard), some, notes)
    return shards


def test_samples_come_back_by_their_offsets(tmp_path):
    shards = write(tmp_path, notes=["note"])
    rows, notes = shards.join()
    assert notes == ["note"] * 3
    reader = ShardReader(tmp_path)
    assert len(reader) == 12
    # In any order; the index alone says where a sample is.
    for index in np.random.default_rng(0).permutation(12):
        assert reader.read(index) == sample(index).files
    assert reader.rows[5]["quality"] == "0.5"
    assert {row["shard"] for row in reader.rows} == {shard_name(i) for i in range(3)}
    assert rows[5]["offset"] % 512 == 0
    copy = pickle.loads(pickle.dumps(reader))
    assert copy.read(7) == sample(7).files


def test_a_shard_is_a_plain_tar_that_other_tools_read(tmp_path):
    write(tmp_path).join()
    with tarfile.open(tmp_path / shard_name(1)) as archive:
        names = archive.getnames()
        assert names[:4] == ["s004.jpg", "s004.mask.png", "s004.json", "s005.jpg"]
        assert archive.extractfile("s005.mask.png").read() == b"mask"
    with (tmp_path / "index.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0])[:5] == ["id", "shard", "offset", "size", "crc32"]


def test_shared_runs_make_what_one_run_makes(tmp_path):
    write(tmp_path / "one", range(5)).join()
    for share in (parse_share("1/2"), parse_share("0/2")):
        shards = write(tmp_path / "two", [i for i in range(5) if share.holds(i)])
        shards.join()
    for path in sorted((tmp_path / "one").glob("[!.]*")):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    assert parse_share("") == Share(0, 1)
    for text in ("2/2", "a/b", "1", "1/", "-1/2"):
        with pytest.raises(UsageError, match="i/n"):
            parse_share(text)


def test_an_interrupted_shard_leaves_nothing_and_a_finished_one_is_kept(tmp_path):
    def broken():
        yield sample(0)
        raise KeyboardInterrupt

    shards = ShardFolder(tmp_path, ("quality", "split"))
    with pytest.raises(KeyboardInterrupt):
        shards.write(0, "a", broken())
    assert not shards.is_done(0, "a")
    assert list(tmp_path.iterdir()) == []
    shards.write(0, "a", [sample(0)])
    assert shards.is_done(0, "a")
    # Made of something else since, or gone.
    assert not shards.is_done(0, "b")
    (tmp_path / shard_name(0)).unlink()
    assert not shards.is_done(0, "a")
    shards.write(0, "a", [sample(0)])
    shards.drop(0)
    assert shards.numbers() == []


def test_damage_is_named(tmp_path):
    write(tmp_path).join()
    path = tmp_path / shard_name(1)
    whole = path.read_bytes()
    reader = ShardReader(tmp_path)
    place = reader.rows[6]["offset"] + 700
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    assert reader.read(5) == sample(5).files
    with pytest.raises(InputError, match=r"shard-00001.tar: the sample 's006' is damaged"):
        reader.read(6)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"shard-00001.tar: the shard is cut short"):
        ShardReader(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=r"shard-00001.tar: the shard is missing"):
        ShardReader(tmp_path)
    (tmp_path / "index.csv").write_text("id,shard\n")
    with pytest.raises(InputError, match="expected the columns"):
        ShardReader(tmp_path)
    (tmp_path / "index.csv").unlink()
    with pytest.raises(InputError, match=r"index.csv"):
        ShardReader(tmp_path)


def test_samples_that_readers_would_mix_up_are_refused(tmp_path):
    shards = ShardFolder(tmp_path, ())
    for bad in ("a.b", "", "a/b"):
        with pytest.raises(InputError, match="sample id"):
            shards.write(0, "", [Sample(bad, {"jpg": b"1"}, {})])
    with pytest.raises(InputError, match="no members"):
        shards.write(0, "", [Sample("a", {}, {})])
    with pytest.raises(InputError, match="twice"):
        shards.write(0, "", [Sample("a", {"jpg": b"1"}, {})] * 2)
    shards.write(0, "", [Sample("a", {"jpg": b"1"}, {})])
    shards.write(1, "", [Sample("a", {"jpg": b"1"}, {})])
    with pytest.raises(InputError, match=r"shard-00001.tar: the sample 'a' is in shard-00000.tar"):
        shards.join()
