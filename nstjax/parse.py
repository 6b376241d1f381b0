"""Settings that are lists, as text."""

from nstjax.errors import NstjaxError

LayerWeights = tuple[tuple[str, float], ...]
Schedule = tuple[tuple[float, float], ...]

_MOST = 10**9  # of a size or of steps: more than any run has, and no more than floats can hold


def parse_layers(text: str) -> LayerWeights:
    """Reads layers and weights from text.

    Args:
        text: `LAYER[:WEIGHT],…`. Layers without a weight get equal shares of 1.

    Returns:
        Pairs of a name, as it was written, and a weight.

    Raises:
        NstjaxError: if a weight is not a number.

    Example:
        >>> parse_layers("relu1_1:0.5,relu2_1")
        (('relu1_1', 0.5), ('relu2_1', 0.5))
    """
    parts = [part.strip().partition(":") for part in text.split(",") if part.strip()]
    try:
        return tuple(
            (name, float(weight) if colon else 1 / len(parts)) for name, colon, weight in parts
        )
    except ValueError as error:
        raise NstjaxError(f"{text!r} is no list of layers: write LAYER:WEIGHT,…") from error


def parse_numbers(text: str) -> list[float]:
    """Reads numbers from text.

    Args:
        text: `NUMBER,…`.

    Returns:
        The numbers.

    Raises:
        NstjaxError: if it is something else.

    Example:
        >>> parse_numbers("2,0.5")
        [2.0, 0.5]
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise NstjaxError(f"{text!r} is no list of numbers: write NUMBER,…, as in 2,1") from error


def parse_schedule(text: str) -> tuple[Schedule, dict[str, int]]:
    """Reads sizes and steps from text.

    Args:
        text: `SIZE[:STEPS],…` in pixels, from the first to the last. Without steps, all sizes get
            equal shares of the recipe's.

    Returns:
        Pairs of a size and of steps, and the settings that they are: `size`, the last, and, where
        there are steps, `steps`, their sum.

    Raises:
        NstjaxError: if it is something else.

    Example:
        >>> parse_schedule("128:1000,256:500")
        (((128.0, 1000.0), (256.0, 500.0)), {'size': 256, 'steps': 1500})
    """
    parts = [part.strip().partition(":") for part in text.split(",") if part.strip()]
    with_steps = {bool(colon) for _, colon, _ in parts}
    try:
        sizes = [int(size) for size, _, _ in parts]
        steps = [int(steps) if colon else 1 for _, colon, steps in parts]
        if len(with_steps) != 1 or not all(1 <= number <= _MOST for number in sizes + steps):
            raise ValueError
    except ValueError as error:
        raise NstjaxError(
            f"{text!r} is no schedule: write SIZE:STEPS,…, or SIZE,… for equal steps, in whole "
            f"numbers from 1 to {_MOST}"
        ) from error
    said = {"size": sizes[-1]} | ({"steps": sum(steps)} if with_steps == {True} else {})
    return tuple((float(a), float(b)) for a, b in zip(sizes, steps, strict=True)), said


def settings_in(schedule: Schedule) -> dict[str, int]:
    """Finds what a schedule in pixels says about other settings, as `parse_schedule` does.

    Args:
        schedule: pairs of a size and of steps. They are in pixels unless the last size is 1, of
            which the others are shares.

    Returns:
        `size` and `steps`, as far as the schedule names them in whole numbers.

    Example:
        >>> settings_in(((64.0, 9.0), (96.0, 5.0))), settings_in(((0.5, 1.0), (1.0, 1.0)))
        ({'size': 96, 'steps': 14}, {})
    """
    size, steps = schedule[-1][0], [float(steps) for _, steps in schedule]
    if size == 1:
        return {}
    said = {"size": int(size)} if float(size).is_integer() else {}
    return said | ({"steps": int(sum(steps))} if all(map(float.is_integer, steps)) else {})
