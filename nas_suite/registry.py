"""Registries: names and settings to objects; nothing is imported before it is asked for."""

import dataclasses
import importlib
import json
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any, TypeVar

from nas_suite.errors import BadInput, suggest

T = TypeVar("T")


@dataclass(frozen=True)
class SpaceNote:
    """A space as a file names it."""

    name: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Registry:
    """Named classes of one kind (`space`, `method`, `data`), ours and those of installed packages' entry points."""

    kind: str
    ours: Mapping[str, str]
    group: str

    def table(self) -> dict[str, str]:
        """Name to `module:Class`; a name of ours cannot be taken by another package."""
        others = {point.name: point.value for point in entry_points(group=self.group)}
        return {**others, **self.ours}

    def names(self) -> list[str]:
        return sorted(self.table())

    def load(self, name: str) -> type:
        """The class behind a name; imports its module. BadInput where another package's cannot be had."""
        table = self.table()
        if name not in table:
            raise BadInput(f"unknown {self.kind} {name!r}{suggest(name, sorted(table), 24)}")
        module, _, attribute = table[name].partition(":")
        if name in self.ours:
            return getattr(importlib.import_module(module), attribute)
        try:
            found = getattr(importlib.import_module(module), attribute)
            reason = "" if isinstance(found, type) and dataclasses.is_dataclass(found) else "it is no dataclass"
        except Exception as error:  # whatever an import of another's module may raise
            reason = f"{type(error).__name__}: {error}"
        if reason:
            raise BadInput(
                f"{self.kind} {name!r} cannot be loaded: entry point {name} = {table[name]} of {self.group}: {reason}; "
                "mend or remove the package that declares it"
            )
        return found

    def build(self, name: str, settings: Mapping[str, Any], **given: Any) -> Any:
        """An object of the named class from its settings; `given` are arguments that are no settings."""
        return construct(self.load(name), f"{self.kind} {name!r}", settings, **given)


def settable(cls: type) -> dict[str, dataclasses.Field[Any]]:
    """The settings of a dataclass: its fields that have a default."""
    return {
        f.name: f
        for f in dataclasses.fields(cls)
        if f.init and (f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING)
    }


def values_of(thing: Any) -> dict[str, Any]:
    """The settings that an object of a settings dataclass has."""
    return {name: getattr(thing, name) for name in settable(type(thing))}


def installed(package: str) -> str:
    """The version of a package, empty where it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def defaults(cls: type) -> dict[str, Any]:
    """Setting name to default value."""
    return {
        name: f.default if f.default is not dataclasses.MISSING else f.default_factory()  # type: ignore[misc]
        for name, f in settable(cls).items()
    }


class Typed(str):
    """A value as it was typed on a command line; the annotation of its setting says how to read it."""


def literal(text: str) -> Any:
    """A typed value: read as TOML where it is TOML, else as a word or a comma-separated list."""
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text.split(",") if "," in text else text


def typed_as(value: Any) -> str:
    """How a setting's value is typed, so that `literal` or `reading` gives it back."""
    if isinstance(value, list | tuple):
        return json.dumps(value)
    if isinstance(value, str | Path):
        return json.dumps(str(value)) if str(value).startswith(("'", '"')) else str(value)
    return json.dumps(value)


def reading(typed: Typed, hint: Any) -> Any:
    """What a typed value means to a setting: in one of text or paths itself, unless it is a quoted TOML string."""
    value = literal(str(typed))
    return value if isinstance(value, str) or not of_text(hint) else str(typed)


def of_text(hint: Any) -> bool:
    """Whether an annotation admits text or paths, and nothing else but None."""
    if typing.get_origin(hint) is typing.Annotated:
        return of_text(typing.get_args(hint)[0])
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    kinds = {kind for kind in (typing.get_args(hint) if union else (hint,)) if kind is not type(None)}
    return bool(kinds) and kinds <= {str, Path}


def checked(cls: type, what: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` with every value converted to its field's annotation; BadInput names the setting that is wrong. Numbers must
    be finite, and true and false are none."""
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    fields = settable(cls)
    hints = typing.get_type_hints(cls, include_extras=True)
    config = ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)
    values = {}
    for name, value in settings.items():
        if name not in fields:
            raise BadInput(f"{what} has no setting {name!r}{suggest(name, fields, most=40)}")
        if isinstance(value, Typed):
            value = reading(value, hints[name])
        try:
            adapter = TypeAdapter(hints[name], config=config)
            values[name] = adapter.validate_python(value, strict=True if isinstance(value, bool) else None)
        except ValidationError as error:
            first = error.errors()[0]
            raise BadInput(f"{what}: {name} = {value!r} does not fit: {first['msg'].lower()}") from None
    return values


def construct(cls: type[T], what: str, settings: Mapping[str, Any], **given: Any) -> T:
    """An instance of a settings dataclass; ValueErrors of its constructor become BadInput that name it."""
    values = checked(cls, what, settings)
    try:
        return cls(**values, **given)
    except BadInput:
        raise
    except ValueError as error:
        raise BadInput(f"{what}: {error}") from None
