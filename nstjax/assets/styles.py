"""The trained styles that come with the package."""

from pathlib import Path

DEFAULT_STYLE = "starry"
BUNDLED_STYLES = {
    path.stem: path for path in sorted((Path(__file__).parent / "styles").glob("*.safetensors"))
}
"""Their files by name; `nstjax/assets/styles/README.md` says how each was trained."""
