"""Configurations: frozen dataclasses to TOML and back, with overrides by dotted name.

Field names are the option names. Precedence: ``--set``, then the file, then the preset's own
values.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from facekit.errors import InputError, UsageError

Config = TypeVar("Config")


def override(config: Config, assignments: Sequence[str]) -> Config:
    """Return a configuration with ``name=value`` assignments applied in order.

    Args:
        config: a dataclass instance; nested ones are reached by dots (``loop.steps=100``).
        assignments: texts; a value is read as its field's type, tuples with commas.

    Raises:
        UsageError: no ``=``, an unknown name, or a value that is not of the field's type.
    """
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set {assignment}: expected NAME=VALUE")
        config = _assign(config, name.strip().split("."), text.strip(), assignment)
    return config


def from_mapping(config: Config, values: Mapping[str, Any], *, where: str) -> Config:
    """Return a configuration with nested values from a mapping, e.g. a TOML table.

    Raises:
        UsageError: an unknown key or a value of another type; the message names ``where``.
    """
    hints = get_type_hints(type(config))
    changes: dict[str, Any] = {}
    for key, value in values.items():
        if key not in hints:
            raise UsageError(f"{where}: unknown key {key!r}; known: {', '.join(sorted(hints))}")
        current = getattr(config, key)
        if is_dataclass(current):
            if not isinstance(value, Mapping):
                raise UsageError(f"{where}: {key}: expected a table, got {value!r}")
            changes[key] = from_mapping(current, value, where=f"{where}.{key}")
        else:
            changes[key] = _checked(value, hints[key], f"{where}: {key}")
    return replace(config, **changes)  # type: ignore[type-var]


def load_toml(config: Config, path: Path) -> Config:
    """Return a configuration with a TOML file's values.

    Raises:
        InputError: the file cannot be read or is no TOML.
        UsageError: see ``from_mapping``.
    """
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: expected a readable TOML file ({error})") from error
    return from_mapping(config, values, where=str(path))


def dump_toml(config: Any) -> str:
    """Return a configuration as TOML text: plain values first, then a table per nested one."""
    return "\n".join(_lines(config, "")) + "\n"


def _lines(config: Any, prefix: str) -> list[str]:
    plain, tables = [], []
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            name = f"{prefix}{field.name}"
            tables += ["", f"[{name}]", *_lines(value, f"{name}.")]
        elif value is not None:
            plain.append(f"{field.name} = {_text(value)}")
    return plain + tables


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(_text(v) for v in value) + "]"
    if isinstance(value, (int, float)):
        return repr(value)
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _assign(config: Any, names: list[str], text: str, assignment: str) -> Any:
    hints = get_type_hints(type(config))
    name = names[0]
    if name not in hints:
        known = ", ".join(sorted(hints))
        raise UsageError(f"--set {assignment}: unknown name {name!r}; known: {known}")
    current = getattr(config, name)
    if is_dataclass(current):
        if len(names) == 1:
            inner = ", ".join(f"{name}.{f.name}" for f in fields(current))
            raise UsageError(f"--set {assignment}: {name} is a group; set one of {inner}")
        return replace(config, **{name: _assign(current, names[1:], text, assignment)})
    if len(names) > 1:
        raise UsageError(f"--set {assignment}: {name} has no part {names[1]!r}")
    value = _parse(text, hints[name], f"--set {assignment}")
    return replace(config, **{name: value})


def _parse(text: str, kind: Any, where: str) -> Any:
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        return tuple(_parse(part.strip(), inner, where) for part in text.split(",") if part.strip())
    if kind is bool:
        words = {"true": True, "false": False}
        if text.lower() not in words:
            raise UsageError(f"{where}: expected true or false, got {text!r}")
        return words[text.lower()]
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            raise UsageError(f"{where}: expected {kind.__name__}, got {text!r}") from None
    return text


def _checked(value: Any, kind: Any, where: str) -> Any:
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise UsageError(f"{where}: expected a list, got {value!r}")
        return tuple(_checked(v, get_args(kind)[0], where) for v in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind in (int, float, str, bool) and type(value) is not kind:
        raise UsageError(f"{where}: expected {kind.__name__}, got {value!r}")
    return value
