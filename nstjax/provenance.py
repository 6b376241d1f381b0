"""What made a file, as its settings say."""

import jax

import nstjax


def made_with() -> dict[str, str]:
    """Lists the versions and the device that are at work.

    Returns:
        `nstjax`, `jax` and `device`.

    Example:
        >>> sorted(made_with())
        ['device', 'jax', 'nstjax']
    """
    return {
        "nstjax": nstjax.__version__,
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
    }
