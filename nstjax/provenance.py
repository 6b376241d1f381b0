"""What made a file, as its settings say."""

import os
from importlib.metadata import version

import jax

import nstjax

# That decode pictures, resize them, and, as SciPy's L-BFGS-B does, choose the steps.
_LIBRARIES = ("numpy", "pillow", "scipy")


def made_with() -> dict[str, str]:
    """Lists the versions and the device that are at work.

    Returns:
        `nstjax`, `jax`, the libraries that have a say in the result, `platform` and `device`, and
        `convolutions`, which algorithms the environment variable `NSTJAX_CONV` allows.

    Example:
        >>> made_with()["nstjax"] == nstjax.__version__
        True
    """
    device = jax.devices()[0]
    return {
        "nstjax": nstjax.__version__,
        "jax": jax.__version__,
        **{name: version(name) for name in _LIBRARIES},
        "platform": device.platform,
        "device": device.device_kind,
        "convolutions": os.environ.get("NSTJAX_CONV") or "auto",
    }
