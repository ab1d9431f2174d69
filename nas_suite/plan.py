"""A plan: which method, space and data with which settings; read from a recipe, a file and the command line, in that order."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from nas_suite.errors import BadInput, suggest
from nas_suite.registry import Typed, checked

PARTS = ("method", "space", "data", "deploy", "retrain")
ABOUT = ("about", "cost", "expect")
FIT = ("image_size", "channels", "classes")  # the settings of a space that its images decide
WIDTH = "width"  # the setting of a space that multiplies all channels; a supernet may be narrower than what is deployed
PATHS = "m"  # the setting of a space that bounds the paths of a block; how many a method wants is the method's matter


@dataclass(frozen=True)
class Plan:
    """Names, and settings by part. What no source says is left to the defaults of the classes named.

    The part `deploy` has settings of the space that are others where networks are deployed, such as the size of the images:
    latencies are of those networks.
    """

    method: str = "mixpath"
    space: str = "mixpath-s1"
    data: str = "cifar10"
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    threads: int = 0  # of the processor; 0: as many as torch chooses. Small networks are fastest with one
    recipe: str = ""

    def __post_init__(self) -> None:
        if self.seed < 0 or self.threads < 0:
            raise BadInput(f"seed and threads must be at least 0, got seed = {self.seed}, threads = {self.threads}")
        if self.seed >= 1 << 63:
            raise BadInput(f"seed must be below 2**63, got {self.seed}")

    def part(self, name: str) -> dict[str, Any]:
        """The settings of one part, a copy."""
        return dict(self.settings.get(name, {}))

    def with_settings(self, part: str, values: Mapping[str, Any]) -> "Plan":
        """The plan with some settings of one part changed."""
        return replace(self, settings={**self.settings, part: {**self.part(part), **values}})

    def as_deployed(self) -> "Plan":
        """The plan with its space as wide as it is deployed: of that width are networks that are trained by themselves."""
        deploy = self.part("deploy")
        return self.with_settings("space", {WIDTH: deploy[WIDTH]}) if WIDTH in deploy else self

    def without_foreign(self, names: Mapping[str, Any]) -> "Plan":
        """The plan without the settings of its space or its data where these names mean another: they do not carry over."""
        others = [part for part, name in (("space", self.space), ("data", self.data)) if names.get(part, name) != name]
        lost = {part: {} for other in others for part in (("space", "deploy") if other == "space" else ("data",))}
        return replace(self, settings={**self.settings, **lost})

    def record(self) -> dict[str, Any]:
        """As JSON keeps it."""
        settings = {
            part: {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
            for part, values in self.settings.items()
        }
        return asdict(replace(self, settings=settings))

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Plan":
        try:
            return cls(**record)
        except TypeError as error:
            raise BadInput(f"the run's plan cannot be read: {error}") from None


@dataclass(frozen=True)
class Recipe:
    """A named plan that ships with the suite, with what it is about, what it costs and what to expect."""

    name: str
    text: str
    about: str
    cost: str
    expect: str


def recipes() -> list[Recipe]:
    """All recipes of the suite, by name."""
    found = []
    for file in sorted(files("nas_suite").joinpath("recipes").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".toml"):
            text = file.read_text()
            table = tomllib.loads(text)
            found.append(Recipe(file.name.removesuffix(".toml"), text, *(str(table.get(key, "")) for key in ABOUT)))
    return found


def recipe(name: str) -> Recipe:
    """One recipe by name."""
    known = {r.name: r for r in recipes()}
    if name not in known:
        raise BadInput(f"unknown recipe {name!r}{suggest(name, known)}")
    return known[name]


def read(plan: Plan, text: str, origin: str) -> Plan:
    """`plan` with a TOML text laid over it: entries `use = {method, space, data}`, `seed`, `device`, `precision`,
    `threads`, and one table a part."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{origin} is no TOML: {error}") from None
    use = table.get("use", {})
    if not isinstance(use, dict):
        raise BadInput(f'{origin}: use must be a table such as {{ data = "digits" }}, got {use!r}')
    for key in use:
        if key not in ("method", "space", "data"):
            raise BadInput(f"{origin}: use.{key} is unknown{suggest(key, ('method', 'space', 'data'))}")
    plan = plan.without_foreign(use)
    known = ["use", "seed", "device", "precision", "threads", *PARTS, *ABOUT]
    for key, value in table.items():
        if key not in known:
            raise BadInput(f"{origin}: unknown entry {key!r}{suggest(key, known)}")
        if key in PARTS:
            if not isinstance(value, dict):
                raise BadInput(f"{origin}: {key} must be a table of settings such as [{key}], got {value!r}")
            plan = plan.with_settings(key, value)
    flat = {key: table[key] for key in ("seed", "device", "precision", "threads") if key in table}
    return replace(plan, **checked(Plan, origin, {**use, **flat}))


def assignments(words: Iterable[str]) -> list[tuple[str, str, Any]]:
    """`part.field=value` words as (part, field, value as it was typed)."""
    found = []
    for word in words:
        key, equals, value = word.partition("=")
        part, dot, name = key.strip().partition(".")
        if not (equals and dot and name):
            raise BadInput(f"--set {word!r} is not of the form part.field=value, such as method.lr=0.05")
        if part not in PARTS:
            raise BadInput(f"--set {word!r}: unknown part {part!r}{suggest(part, PARTS)}")
        found.append((part, name, Typed(value)))
    return found


def compose(
    base: Plan,
    recipe_name: str | None = None,
    config: Path | None = None,
    sets: Iterable[str] = (),
    own: str = "method",
    **flags: Any,
) -> Plan:
    """The plan that a command line means: `base`, then the recipe, the file, `--set` words, then flags that were given.

    Flags are fields of Plan, or settings of the part `own`, such as `epochs`.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    plan = base
    if recipe_name:
        plan = replace(read(plan, recipe(recipe_name).text, f"recipe {recipe_name}"), recipe=recipe_name)
    text = ""
    if config is not None:
        try:
            text = config.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"--config {config} cannot be read: {error}") from None
    file = read(Plan(method="", space="", data=""), text, str(config))
    if given.get("method", file.method or plan.method) != plan.method:  # a recipe's paths are its own method's
        plan = replace(plan, settings={**plan.settings, "space": {k: v for k, v in plan.part("space").items() if k != PATHS}})
    meant = {name: given[name] for name in ("space", "data") if name in given and not getattr(file, name)}
    plan = replace(plan.without_foreign(meant), **meant)  # what a file sets without naming a space is of the one that is given
    plan = read(plan, text, str(config))
    plan = plan.without_foreign(given)
    for part, name, value in assignments(sets):
        plan = plan.with_settings(part, {name: value})
    settings = {name: given.pop(name) for name in list(given) if name not in Plan.__dataclass_fields__}
    return replace(plan.with_settings(own, settings) if settings else plan, **given)
