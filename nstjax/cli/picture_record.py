"""What a picture's settings say about how it was made: the route, the recipe, and the inputs."""

import dataclasses
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nstjax.assets import BUNDLED_STYLES, PAINTINGS, local_painting, sample_path
from nstjax.errors import NstjaxError
from nstjax.fast import Style, load_style
from nstjax.images import Picture, describe_input, is_url, load_image, read_settings
from nstjax.provenance import made_with
from nstjax.settings import INITS, Recipe
from nstjax.targets import checked_style_weights

# What the settings contain besides the values of a recipe.
_BESIDE = {
    "gatys": {"method", "recipe", "content", "style", "style_weights", "inputs", "bits"}
    | {"steps_done", "complete", "weights_sha256", "kept"},
    "fast": {"method", "content", "style", "inputs", "bits", "size", "tile"}
    | {"seconds", "style_provenance"},
}


@dataclass(frozen=True)
class Recorded:
    """The settings of a picture.

    Attributes:
        path: the picture.
        settings: as they are stored.
        recipe: of the pixel route; None on the other.
    """

    path: Path
    settings: dict[str, Any]
    recipe: Recipe | None

    def input(self, role: str) -> dict[str, Any]:
        """Returns what is known about the input in a role: `name`, and in newer files its hash."""
        inputs = self.settings.get("inputs", {})
        if role in self.styles and self.style_weights is not None:
            return inputs["style"][self.styles.index(role)]
        return inputs.get(role) or {"name": self.settings.get(role)}

    @property
    def roles(self) -> list[str]:
        """The roles of the inputs: content, styles, and init if the start was a picture file."""
        starts_from_file = self.recipe is not None and (
            "init" in self.settings.get("inputs", {}) or self.recipe.init not in INITS
        )
        return ["content", *self.styles, *(["init"] if starts_from_file else [])]

    @property
    def styles(self) -> list[str]:
        """The roles of the style images: style, or style 1, style 2 and so on."""
        if self.style_weights is None:
            return ["style"]
        return [f"style {number}" for number in range(1, len(self.style_weights) + 1)]

    @property
    def style_weights(self) -> list[float] | None:
        """The weights of several style images; None if there is only one."""
        return self.settings.get("style_weights")

    @property
    def made_with(self) -> dict[str, str]:
        """The versions and the device that made the picture."""
        return {name: self.settings[name] for name in made_with() if name in self.settings}


@dataclass(frozen=True)
class FoundInput:
    """An input that was found.

    Attributes:
        source: its path, or what was given.
        differs: how it differs from the recorded one, in words; empty if it is the same.
        loaded: the picture, or the trained style.
    """

    source: str
    differs: str
    loaded: Picture | Style


def read_recorded(path: Path) -> Recorded:
    """Reads the settings of a picture.

    Args:
        path: a picture that `nstjax stylize` or `MadePicture.save` wrote.

    Returns:
        Its settings.

    Raises:
        NstjaxError: it cannot be read, holds none, or some that this version does not know.
    """
    settings = read_settings(path)
    if settings is None:
        raise NstjaxError(
            f"{path} carries no settings: pass a picture that nstjax made and nothing else has "
            "saved since"
        )
    method = settings.get("method")
    if not isinstance(method, str) or method not in _BESIDE:
        raise NstjaxError(
            f"{path} was made by a method that this version does not know ({method!r}): update "
            "nstjax"
        )
    fields = {field.name for field in dataclasses.fields(Recipe)} if method == "gatys" else set()
    unknown = sorted(settings.keys() - fields - _BESIDE[method] - made_with().keys())
    if unknown:
        raise NstjaxError(
            f"{path} was made by nstjax {settings.get('nstjax')} with settings that this version "
            f"does not know ({', '.join(unknown)}): update nstjax"
        )
    try:
        recipe = recipe_from(settings) if method == "gatys" else None
        recorded = Recorded(path, settings, recipe)
        if recorded.style_weights is not None:
            checked_style_weights(len(settings["inputs"]["style"]), recorded.style_weights)
        for role in recorded.roles:
            trained = role == "style" and recipe is None
            _check_input(recorded.input(role), trained=trained)
        for name in ("size", "steps_done"):
            if not isinstance(settings.get(name, 0), int) or settings.get(name, 0) < 0:
                raise TypeError(f"{name} is {settings[name]!r}")
        if not isinstance(settings.get("weights_sha256", ""), str):
            raise TypeError(f"weights_sha256 is {settings['weights_sha256']!r}")
    except (TypeError, KeyError, AttributeError, OverflowError, ValueError) as error:
        raise NstjaxError(
            f"{path} has settings that this version cannot use ({error}): update nstjax"
        ) from error
    return recorded


def _check_input(record: dict[str, Any], *, trained: bool) -> None:
    kinds: dict[str, Any] = {"name": str | None}
    if record.get("sha256") is not None:
        kinds |= {"sha256": str, "of": str} | ({} if trained else {"width": int, "height": int})
    for name, kind in kinds.items():
        if not isinstance(record[name], kind):
            raise TypeError(f"an input's {name} is {record[name]!r}")


def recipe_from(settings: dict[str, Any]) -> Recipe:
    """Makes the recipe that settings came from.

    Args:
        settings: as stored in a picture; a field that they lack has its default.

    Returns:
        The recipe.

    Raises:
        NstjaxError: a value is not valid.
        TypeError: a field that has no default is missing.
    """
    names = {field.name for field in dataclasses.fields(Recipe)}
    values = {name: _tuples(value) for name, value in settings.items() if name in names}
    return Recipe(**{**values, "name": settings["recipe"]})


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples that they were."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def find_picture(recorded: Recorded, role: str, given: str | None) -> FoundInput:
    """Finds the picture that the settings name.

    Args:
        recorded: the settings.
        role: one of `recorded.roles`.
        given: the path or address to take; None looks for the name beside the result, in the
            current folder, and among what comes with the package.

    Returns:
        The picture whose hash is right, or else the first that can be read.

    Raises:
        NstjaxError: there is none, or none can be read.
    """
    record = recorded.input(role)
    sources = _places(recorded, role) if given is None else [given]
    if not sources:
        raise _nowhere(recorded, role)

    def load(source: str) -> FoundInput:
        picture, same = _load(source, record)
        return FoundInput(source, "" if same else _difference(role, record, picture), picture)

    return _best(sources, load)


def find_style(recorded: Recorded, given: str | None) -> FoundInput:
    """Finds the trained style that the settings name, likewise.

    Args:
        recorded: the settings.
        given: what `nstjax.load_style` takes; None looks for the name.

    Returns:
        The style whose hash is right, or else the first that can be read.

    Raises:
        NstjaxError: there is none, or none is a trained style.
    """
    record = recorded.input("style")
    stem = Path(record["name"] or "").name.removesuffix(".safetensors")
    sources = _beside(recorded, f"{stem}.safetensors") + [stem] * (stem in BUNDLED_STYLES)
    sources = sources if given is None else [given]
    if not sources:
        raise _nowhere(recorded, "style")
    before = record.get("sha256")

    def load(source: str) -> FoundInput:
        style = load_style(source)
        same = style.sha256 == before
        differs = "" if same else _changed("style", source, before, style.sha256)
        return FoundInput(source, differs, style)

    return _best(sources, load)


def _best(sources: Iterable[str], load: Callable[[str], FoundInput]) -> FoundInput:
    """The first input that is the recorded one, else the first that can be read."""
    found, failed = None, None
    for source in sources:
        try:
            candidate = load(source)
        except NstjaxError as error:  # the right one may be elsewhere
            failed = failed or error
            continue
        if not candidate.differs:
            return candidate
        found = found or candidate
    if found is None:
        assert failed is not None  # there is at least one source
        raise failed
    return found


def _load(source: str, record: dict[str, Any]) -> tuple[Picture, bool]:
    """Loads a picture as it was recorded, and says whether it is the same."""
    picture = load_image(source)
    if record.get("sha256") is None or _same(picture, record):
        return picture, record.get("sha256") is not None
    longest = max(record["width"], record["height"])
    if record["of"] == "file" and picture.sha256 == record["sha256"]:
        # In Python it was loaded at another size than its own.
        picture = load_image(source, size=longest, upscale=True)
    return picture, _same(picture, record)


def _same(picture: Picture, record: dict[str, Any]) -> bool:
    now = _described_as(record, picture)
    return all(now[key] == record[key] for key in ("sha256", "width", "height"))


def _described_as(record: dict[str, Any], picture: Picture) -> dict[str, Any]:
    """Describes a picture by its pixels if the recorded one was described by them."""
    if record["of"] == "pixels":
        picture = dataclasses.replace(picture, sha256=None)
    return describe_input(picture)


def _difference(role: str, record: dict[str, Any], picture: Picture) -> str:
    if record.get("sha256") is None:
        return _changed(role, picture.name, None, picture.sha256)
    now = _described_as(record, picture)
    text = _changed(role, picture.name, record["sha256"], now["sha256"], of=record["of"])
    before, after = (f"{entry['width']}×{entry['height']}" for entry in (record, now))
    return text if before == after else f"{text}; it had {before} pixels, has {after}"


def _changed(
    role: str, source: str, before: str | None, after: str | None, *, of: str = "file"
) -> str:
    if before is None:
        return f"{role}: {source}; no hash was kept, so it may have changed"
    what = "sha256" if of == "file" else "sha256 of the pixels"
    return f"{role}: {source} has changed: {what} was {short(before)}, is {short(after)}"


def short(sha256: str | None) -> str:
    """Returns as much of a hash as people compare."""
    return "unknown" if sha256 is None else f"{sha256[:12]}…"


def _places(recorded: Recorded, role: str) -> list[str]:
    """Where a picture of that name is."""
    # A stranger's file must not name a folder here.
    name = Path(recorded.input(role)["name"] or "").name
    if not name or is_url(recorded.input(role)["name"]):
        return []
    places = _beside(recorded, name)
    if name == sample_path().name:
        places.append(str(sample_path()))
    if role in recorded.styles and Path(name).stem in PAINTINGS:
        painting = local_painting(Path(name).stem)
        places += [] if painting is None else [str(painting)]
    return places


def _beside(recorded: Recorded, name: str) -> list[str]:
    places = dict.fromkeys(map(str, (recorded.path.parent / name, Path(name))))
    # A result may be named after its photograph, but was not made from itself.
    result = os.path.realpath(recorded.path)
    return [p for p in places if os.path.isfile(p) and os.path.realpath(p) != result]


def _nowhere(recorded: Recorded, role: str) -> NstjaxError:
    name = recorded.input(role)["name"]
    option, count = f"--{role.split()[0]}", len(recorded.styles)
    each = f" (--style {count} times, in order)" if role in recorded.styles and count > 1 else ""
    if is_url(name):
        # Pictures come from strangers, and replaying one is to ask nothing of their servers.
        return NstjaxError(
            f"the {role} came from {name}: to fetch it again add {option} {name}{each}"
        )
    if not name or recorded.input(role).get("of") == "pixels":
        return NstjaxError(
            f"the {role} was a picture in memory: add {option} with a file of the same pixels{each}"
        )
    return NstjaxError(
        f"the {role}, {name}, is neither beside {recorded.path} nor in the current folder: add "
        f"{option} with the file{each}"
    )
