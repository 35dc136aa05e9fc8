from dataclasses import dataclass, field

import pytest

from facekit.config import dump_toml, load_toml, override
from facekit.errors import InputError, UsageError


@dataclass(frozen=True)
class Inner:
    steps: int = 10
    rate: float = 0.5
    fast: bool = False


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    name: str = "a"
    widths: tuple[int, ...] = (1, 2)


def test_overrides_reach_nested_fields_with_their_types():
    config = override(
        Outer(), ["inner.steps=20", "inner.rate=1", "inner.fast=true", "name=b c", "widths=3,4,5"]
    )
    assert config == Outer(Inner(20, 1.0, True), "b c", (3, 4, 5))
    assert isinstance(config.inner.rate, float)


def test_toml_round_trip(tmp_path):
    config = Outer(Inner(7, 1e-5, True), 'quote " and \\', (9,))
    path = tmp_path / "c.toml"
    path.write_text(dump_toml(config))
    assert load_toml(Outer(), path) == config


def test_a_file_may_hold_some_values(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("[inner]\nrate = 2\n")
    assert load_toml(Outer(), path) == Outer(Inner(rate=2.0))


@pytest.mark.parametrize(
    "assignment",
    [
        "inner.steps",
        "inner.step=3",
        "inner=3",
        "name.first=3",
        "inner.steps=many",
        "inner.steps=1.5",
        "inner.fast=maybe",
        "other=1",
    ],
)
def test_bad_overrides(assignment):
    with pytest.raises(UsageError, match="--set"):
        override(Outer(), [assignment])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("inner = 3", UsageError),
        ("unknown = 3", UsageError),
        ("[inner]\nsteps = 1.5", UsageError),
        ("[inner]\nsteps = true", UsageError),
        ("widths = 3", UsageError),
        ("name = ", InputError),
    ],
)
def test_bad_files(tmp_path, text, error):
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(error):
        load_toml(Outer(), tmp_path / "c.toml")


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="readable TOML"):
        load_toml(Outer(), tmp_path / "none.toml")
