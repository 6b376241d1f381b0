"""The house rules that can be read off the code: who imports whom, who prints, how long things are.

Everything but the last test reads the source with `ast` and runs none of it.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "nstjax"

# Data flows down this list. A room imports from the lines above its own, and from itself; rooms on
# one line do not know each other.
ORDER = (
    "errors",
    "files provenance memory parse fields",
    "images assets ops",
    "vgg losses",
    "settings",
    "recipes structure",
    "targets",
    "objective",
    "gatys fast",
    "report",
    "cli",
    "launch",
)
FLOOR = {room: floor for floor, rooms in enumerate(ORDER) for room in rooms.split()}
# Libraries that one room, or a few modules of one, keep to themselves.
ONLY_IN = {
    "flax": {"vgg", "fast.layers", "fast.johnson", "fast.subpixel"},
    "PIL": {"images"},
    "tifffile": {"images"},
    "h5py": {"vgg"},
    "orbax": {"fast.checkpoints"},
    "tensorflow_datasets": {"fast.coco", "fast.sources"},
    "grain": {"fast.data"},
    "matplotlib": {"report"},
    "tensorboard": {"report"},
    "argparse": {"cli"},
}
# Who may know uint8: what decodes pictures, and what hands out training data.
UINT8 = {"images", "fast.data"}
# What costs seconds to import, or is not always there.
HEAVY = ("h5py", "matplotlib", "pooch", "requests", "scipy", "tensorflow", "tifffile", "torch")
MODULE_LINES = 400
FUNCTION_LINES = 60

TREES = {
    path.relative_to(PACKAGE.parent).with_suffix(""): ast.parse(path.read_text("utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}
MODULES = {".".join(p.parts).removesuffix(".__init__"): tree for p, tree in TREES.items()}
# The root offers everything, on request, and is no room.
ROOMS = {name: tree for name, tree in MODULES.items() if name != "nstjax"}

every_module = pytest.mark.parametrize("module", ROOMS)


def room_of(module: str) -> str:
    return module.split(".")[1]


def is_among(module: str, places: set[str]) -> bool:
    """Whether a module is one of, or lies in one of, the places named without the package."""
    return any(f"{module}.".startswith(f"nstjax.{place}.") for place in places)


def imports_of(tree: ast.AST) -> set[str]:
    """Full names of what a module imports, and of what it reaches through `nstjax.`."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{'.' * node.level}{node.module}.{alias.name}" for alias in node.names}
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "nstjax"
        ):
            found.add(f"nstjax.{node.attr}")
    return {name for name in found if name != "nstjax" and not name.startswith("nstjax.__")}


def complaints(module: str, tree: ast.AST) -> list[str]:
    """The imports of a module that go up the list or across it, or into another room's library."""
    room = room_of(module)
    wrong = []
    for name in sorted(imports_of(tree)):
        root, _, rest = name.partition(".")
        if root == "nstjax":
            other = rest.split(".")[0]
            # A name that is no room is one that the root takes from some room below.
            allowed = other == room or FLOOR.get(other, len(ORDER)) < FLOOR[room]
        else:
            allowed = root != "" and (root not in ONLY_IN or is_among(module, ONLY_IN[root]))
        if not allowed:
            wrong.append(f"{module} imports {name}")
    return wrong


def prints_of(tree: ast.AST) -> list[str]:
    """Where a module prints, or takes hold of the standard streams."""
    lines = [
        node.lineno
        for node in ast.walk(tree)
        if (isinstance(node, ast.Name) and node.id == "print")
        or (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "sys"
            and node.attr in ("stdout", "stderr", "__stdout__", "__stderr__")
        )
    ]
    return [f"line {line}" for line in sorted(lines)]


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """A function's lines from `def` on, less its docstring's."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or 0) - first.lineno + 1
    return lines


def test_every_room_has_its_place():
    assert {room_of(module) for module in ROOMS} == set(FLOOR)


@every_module
def test_imports_only_from_rooms_before(module):
    assert complaints(module, MODULES[module]) == []


@every_module
def test_only_the_command_line_prints(module):
    if room_of(module) != "cli":
        assert prints_of(MODULES[module]) == []


@every_module
def test_few_know_uint8(module):
    if not is_among(module, UINT8):
        names = {getattr(n, "attr", getattr(n, "id", None)) for n in ast.walk(MODULES[module])}
        texts = {n.value for n in ast.walk(MODULES[module]) if isinstance(n, ast.Constant)}
        assert not {"uint8", "UInt8"} & (names | texts)


@pytest.mark.parametrize("module", MODULES)
def test_modules_and_functions_are_short(module):
    tree = MODULES[module]
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert {f.name: code_lines(f) for f in functions if code_lines(f) > FUNCTION_LINES} == {}
    path = next(p for p, other in TREES.items() if other is tree)
    source = (PACKAGE.parent / path).with_suffix(".py")
    assert len(source.read_text("utf-8").splitlines()) <= MODULE_LINES


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("nstjax.losses.style", "from nstjax.vgg import VGG", "nstjax.vgg.VGG"),
        ("nstjax.vgg.network", "import nstjax.losses.style", "nstjax.losses.style"),
        ("nstjax.vgg.network", "from nstjax import losses", "nstjax.losses"),
        ("nstjax.objective", "import nstjax\nnstjax.gatys.stylize()", "nstjax.gatys"),
        ("nstjax.gatys.loop", "from nstjax import stylize", "nstjax.stylize"),
        ("nstjax.images.load", "from .. import errors", "..None.errors"),
        ("nstjax.settings", "def f():\n    import flax.linen", "flax.linen"),
        ("nstjax.report", "from PIL import Image", "PIL.Image"),
    ],
)
def test_wrong_imports_are_found(module, source, wrong):
    assert complaints(module, ast.parse(source)) == [f"{module} imports {wrong}"]


def test_right_imports_are_not():
    source = "import jax, nstjax\nfrom nstjax import __version__, assets\nfrom flax import linen"
    source += "\nfrom nstjax.vgg.layers import CHANNELS\nnstjax.__version__"
    assert complaints("nstjax.vgg.network", ast.parse(source)) == []


def test_prints_are_found():
    source = "import sys\nsys.stderr.write('')\nprint()\nlist(map(print, []))\nsys.path"
    assert prints_of(ast.parse(source)) == ["line 2", "line 3", "line 4"]


def test_length_leaves_out_the_docstring():
    function = ast.parse('def f():\n    """One.\n\n    Two.\n    """\n    return 1').body[0]
    assert isinstance(function, ast.FunctionDef)
    assert code_lines(function) == 2


def test_importing_everything_loads_nothing_heavy_and_says_nothing():
    names = ", ".join(name for name in MODULES if not name.endswith("__main__"))
    code = (
        f"import sys, {names}\n"
        f"heavy = {HEAVY} + ('orbax', 'tensorflow_datasets', 'grain', 'matplotlib.pyplot')\n"
        "sys.exit(', '.join(name for name in heavy if name in sys.modules) or None)"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        cwd=PACKAGE.parent,
        check=False,
    )
    assert (run.stdout, run.stderr, run.returncode) == ("", "", 0)
