"""The README's code runs, its commands parse, and its test command is the one that is run."""

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nstjax.assets import DEFAULT_STYLE, PAINTINGS
from nstjax.cli import stylize, train
from nstjax.cli.main import Parser
from nstjax.fast import TRAINING_RECIPES
from nstjax.recipes import RECIPES

pytestmark = pytest.mark.usefixtures("quick_compilation")

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def test_python_blocks_run(tmp_path, monkeypatch, random_vgg19):
    """With pictures of the names used, on random weights, so that it needs no asset."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys.modules["nstjax.gatys.stylize"], "load_weights", lambda *_, **__: random_vgg19
    )
    monkeypatch.setattr("nstjax.vgg.load_weights", lambda *_, **__: random_vgg19)
    rng = np.random.default_rng(0)
    Path("photos").mkdir()
    for name in ("photo.jpg", "painting.jpg", *(f"photos/{number}.jpg" for number in range(5))):
        Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8)).save(name)
    assert blocks("python")
    for block in blocks("python"):
        # The same program on a smaller picture.
        small = re.sub(r"size=\d+", "size=32", re.sub(r"steps=\d+", "steps=2", block))
        exec(compile(small, "README.md", "exec"), {"__name__": "readme"})
    assert Path("out.png").exists()


@pytest.mark.parametrize(
    "line", [line for line in commands() if re.match(r"(python stylize\.py|nstjax stylize)", line)]
)
def test_stylize_commands_parse(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs/mine").mkdir(parents=True)
    words = shlex.split(line, comments=True)
    parser = Parser()
    stylize.add_arguments(parser)
    options = parser.parse_args(words[2:])
    if options.recipe != "list":
        stylize.recipe_from(options)
        options.styles = options.styles or [DEFAULT_STYLE]
        assert stylize.route_of(options) in ("fast", "gatys")


@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("python train.")])
def test_train_commands_parse(line):
    parser = Parser()
    train.add_arguments(parser)
    options = parser.parse_args(shlex.split(line)[2:])
    train.recipe_from(options)
    assert options.style in PAINTINGS or options.style_image


def test_the_recipes_are_listed():
    for name in (*RECIPES, *TRAINING_RECIPES):
        assert f"| `{name}` |" in README


def test_continuous_integration_runs_the_readmes_commands():
    """What the README tells a newcomer is what is known to work."""
    line = next(line for line in commands() if line.endswith("pytest"))
    install = re.search(r'pip install (-e "\.\[dev\]")', line)
    assert install
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert install.group(1) in script
    assert script.rstrip().endswith("pytest")


def anchors(text: str) -> set[str]:
    """What GitHub makes of the headings, which links can lead to."""
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "path", ["README.md", "benchmarks/README.md", "nstjax/gatys/README.md"], ids=str
)
def test_links_lead_somewhere(path):
    source = ROOT / path
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", source.read_text("utf-8")):
        name, _, heading = target.partition("#")
        found = source.parent / name if name else source
        assert found.exists(), target
        assert not heading or heading in anchors(found.read_text("utf-8")), target
