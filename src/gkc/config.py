"""Configurations: frozen dataclasses read from strict YAML.

The defaults live in the dataclasses, beside what they configure; here a file is only checked and turned into one.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from gkc.errors import ConfigError, MissingExtraError

Config = TypeVar("Config")

_CHOICE = "kind is "
"""Before the kind in pydantic's path of an error, where it stands for no entry of a file."""


@dataclass(frozen=True)
class ByKind:
    """Marks a union of configurations of which the entry `kind` chooses one: `Annotated[A | B, ByKind("a")]`.

    `default` is the kind of a file that gives none; each dataclass has a field `kind` with its own as the default.
    """

    default: str

    def __get_pydantic_core_schema__(self, union: Any, handler: Any) -> Any:
        """Pydantic's schema: that of one dataclass alone, so that errors are about what was meant."""
        from pydantic_core import core_schema

        kinds = {part.__dataclass_fields__["kind"].default: part for part in get_args(union)}

        def choice(value: Any) -> str:
            kind = value.get("kind", self.default) if isinstance(value, dict) else getattr(value, "kind", self.default)
            return f"{_CHOICE}{kind}"

        return core_schema.tagged_union_schema(
            {f"{_CHOICE}{kind}": handler.generate_schema(part) for kind, part in kinds.items()},
            choice,
            custom_error_type="kind",
            custom_error_message=f"kind is none of {', '.join(kinds)}",
        )


def read_config(path: Path, kind: type[Config]) -> Config:
    """The configuration of a YAML file; an unknown key or a wrong type is an error.

    Raises:
        ConfigError: the file cannot be read, or an entry is wrong; the message names the entry.
        MissingExtraError: the `train` extra is not installed.
    """
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("reading a configuration", "train") from error
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}): give a YAML file") from error
    return check_config(values, kind, source=str(path))


def check_config(values: Any, kind: type[Config], *, source: str) -> Config:
    """Plain values as a `kind`, checked strictly.

    Raises:
        ConfigError: an entry is unknown, missing or of the wrong type.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    _forbid_extra(kind, ConfigDict(extra="forbid"))
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        entries = [str(part) for part in first["loc"] if not str(part).startswith(_CHOICE)]
        where = ".".join(entries) or "the file"
        raise ConfigError(f"{source}: {where}: {first['msg']}") from error


def dump_config(config: Any) -> str:
    """YAML text of a configuration with every default written out."""
    import yaml

    return yaml.safe_dump(_plain(dataclasses.asdict(config)), sort_keys=False, width=120)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


def _forbid_extra(kind: Any, setting: Any) -> None:
    """Set pydantic's strictness on a dataclass and on those inside it."""
    import typing

    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        for part in get_args(kind):
            _forbid_extra(part, setting)
        return
    if "__pydantic_config__" in vars(kind):
        return
    setattr(kind, "__pydantic_config__", setting)  # noqa: B010  # pydantic reads it; no dataclass declares it
    for hint in typing.get_type_hints(kind).values():
        _forbid_extra(hint, setting)
