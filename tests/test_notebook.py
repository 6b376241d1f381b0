"""The notebook's code runs, on the CPU, at small sizes."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nstjax.assets import BUNDLED_STYLES
from nstjax.images import save_image

pytestmark = pytest.mark.usefixtures("quick_compilation")

NOTEBOOK = Path(__file__).parents[1] / "examples" / "nstjax_colab.ipynb"
# In place of the cell tagged "parameters".
SMALL = {
    "SIZE": 48,
    "PIXEL_STEPS": 2,
    "TRAINING_STEPS": 2,
    "TRAINING_SIZE": 32,
    "BATCH_SIZE": 2,
    "DATASET": "folder:photos",
    "STYLE": "starry",
}
NOT_HERE = {"install", "display"}  # tags of cells that need a notebook around them


def code_cells():
    for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            yield set(cell["metadata"].get("tags", ())), "".join(cell["source"])


def test_parameters_are_all_replaced():
    (parameters,) = (source for tags, source in code_cells() if "parameters" in tags)
    names: dict = {}
    exec(parameters, names)
    assert {name for name in names if name.isupper()} == set(SMALL)
    assert names["STYLE"] in BUNDLED_STYLES


def test_it_carries_no_outputs():
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


@pytest.mark.usefixtures("assets")
def test_code_runs(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    for number in range(8):
        picture = rng.random((1, 40, 56, 3), np.float32)
        save_image(tmp_path / "mine" / f"{number}.png", picture)
    shutil.make_archive("mine", "zip", "mine")
    chosen = [{}, {"mine.zip": Path("mine.zip").read_bytes()}]  # no photograph, and then some
    files = SimpleNamespace(upload=lambda: chosen.pop(0))
    monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace(files=files))
    names = dict(SMALL)
    for tags, source in code_cells():
        if not tags & (NOT_HERE | {"parameters"}):
            exec(source, names)
    assert (
        names["fast"].image.shape == names["slow"].image.shape == names["photograph"].pixels.shape
    )
    assert names["result"].step == 2
    assert (tmp_path / "runs" / "mine" / "mine.safetensors").exists()
