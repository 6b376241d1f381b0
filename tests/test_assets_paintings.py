"""Paintings by name: the table, the order of places, and downloads from a local server."""

import dataclasses
import io
import os
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nstjax.assets import PAINTINGS, find_painting
from nstjax.errors import NstjaxError
from nstjax.images import load_image

# What Commons answers with: the page redirects to the file.
PAGE, FILE = "/wiki/Special:FilePath/starry.jpg", "/thumb/starry.jpg"


def jpeg(width: int, height: int) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "jpeg")
    return stream.getvalue()


CONTENT = jpeg(160, 130)


def check(path: Path) -> None:
    """What a caller passes: decodes the picture and looks at its size."""
    height, width = load_image(path).pixels.shape[1:3]
    if min(height, width) < 128:
        raise NstjaxError(f"{path} is {width}x{height} pixels: give one of 128 or more a side")


class Server(ThreadingHTTPServer):
    """Serves `content` after a redirect, or answers with `status`."""

    daemon_threads = True
    content = CONTENT
    status = 200

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []

    def handle_error(self, request, client_address):
        """Clients that hang up are part of these tests."""


class Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format, *args):
        """Keeps stderr for what is tested."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers["User-Agent"]))
        if self.server.status != 200:
            self.send_error(self.server.status)
        elif self.path == FILE:
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.server.content)))
            self.end_headers()
            self.wfile.write(self.server.content)
        else:
            self.send_response(302)
            self.send_header("Location", FILE)
            self.send_header("Content-Length", "0")
            self.end_headers()


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    """A machine that is online, and a server that has the one painting."""
    monkeypatch.delenv("NSTJAX_OFFLINE")
    monkeypatch.setattr("nstjax.assets.download.RETRY_WAITS_S", (0.0, 0.0))
    with Server() as server:
        url = f"http://127.0.0.1:{server.server_port}{PAGE}"
        painting = dataclasses.replace(PAINTINGS["starry"], url=url)
        monkeypatch.setitem(PAINTINGS, "starry", painting)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache, an offline machine, and no assets."""
    monkeypatch.setenv("NSTJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NSTJAX_OFFLINE", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("NSTJAX_ASSETS", raising=False)
    return tmp_path / "cache"


def put(folder: Path, name: str, content: bytes = CONTENT) -> Path:
    (folder / "styles").mkdir(parents=True, exist_ok=True)
    path = folder / "styles" / name
    path.write_bytes(content)
    return path


def failure(name: str = "starry") -> str:
    """The message of a search that must fail, which is one line."""
    with pytest.raises(NstjaxError) as caught:
        find_painting(name, check=check)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_table_is_well_formed():
    names = ["starry", "scream", "wave", "shipwreck", "composition_vii", "udnie"]
    assert list(PAINTINGS) == names
    for name, painting in PAINTINGS.items():
        assert painting.name == name
        assert all(dataclasses.astuple(painting))
        page, download = map(urllib.parse.urlsplit, (painting.source, painting.url))
        assert page.scheme == download.scheme == "https"
        assert page.netloc == download.netloc == "commons.wikimedia.org"
        file = page.path.removeprefix("/wiki/File:")
        assert download.path == f"/wiki/Special:FilePath/{file}"
        assert file.isascii()
        assert file.endswith(".jpg")
        # One of the widths that Commons serves; it refuses others.
        assert download.query == "width=1280"


def test_an_unknown_name_suggests_the_nearest():
    message = failure("stary")
    assert message.startswith("unknown style 'stary': did you mean 'starry'? (accepted: starry, ")


def test_the_order_of_places(cache, tmp_path, monkeypatch):
    assets = tmp_path / "assets"
    assets.mkdir()
    monkeypatch.setenv("NSTJAX_ASSETS", str(assets))
    # From the last to be considered to the first: each new file wins over those before it.
    for folder in (cache, assets):
        for suffix in (".webp", ".png", ".jpeg", ".jpg"):
            expected = put(folder, f"starry{suffix}")
            assert find_painting("starry", check=check) == expected
    assert "wave.jpg" in failure("wave")


def test_assets_folder_that_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("NSTJAX_ASSETS", str(tmp_path / "typo"))
    assert "typo, which is not a folder: correct or unset it" in failure()


def test_an_asset_without_content_is_left_to_whoever_loads_it(tmp_path, monkeypatch):
    monkeypatch.setenv("NSTJAX_ASSETS", str(tmp_path))
    path = put(tmp_path, "starry.png", b"")
    assert find_painting("starry", check=check) == path
    with pytest.raises(NstjaxError, match="is empty"):
        check(path)


def test_offline_message_says_what_to_get_where_and_where_to_put_it(cache):
    assert failure() == (
        "starry.jpg (The Starry Night by Vincent van Gogh) is not on this machine and "
        "NSTJAX_OFFLINE forbids downloading it: get it from https://commons.wikimedia.org/wiki/"
        "File:Van_Gogh_-_Starry_Night_-_Google_Art_Project.jpg and save it as "
        f"{cache / 'styles' / 'starry.jpg'}, or as styles/starry.jpg in the folder that "
        "NSTJAX_ASSETS names, or pass its path (--style-image to train, --style to stylize)"
    )
    assert not cache.exists()


def test_following_the_offline_message_works(cache):
    expected = put(cache, "starry.jpg")
    assert find_painting("starry", check=check) == expected


def test_downloads_once_under_its_own_name(server, cache, capfd):
    path = find_painting("starry", check=check)
    assert path == cache / "styles" / "starry.jpg"
    assert path.read_bytes() == CONTENT
    assert find_painting("starry", check=check) == path
    (page, agent), (file, same) = server.asked
    assert (page, file) == (PAGE, FILE)
    assert agent == same
    assert agent is not None
    assert agent.startswith("nstjax/")
    assert os.listdir(cache / "styles") == ["starry.jpg"]
    assert capfd.readouterr() == ("", "")


def test_progress_goes_to_stderr(server, capfd):
    find_painting("starry", check=check, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "starry.jpg: " in err


def test_a_cached_file_without_content_is_downloaded_again(server, cache):
    put(cache, "starry.jpg", b"")
    assert find_painting("starry", check=check).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"<html>please log in</html>", "it is not a picture of a readable kind"),
        (b"", "it is empty"),
        (CONTENT[:2000], "it is damaged or cut short (image file is truncated"),
        (jpeg(160, 127), "it is 160x127 pixels"),
    ],
)
def test_what_arrives_is_a_picture_or_is_not_kept(server, cache, content, fault):
    server.content = content
    message = failure()
    assert message.startswith(f"starry.jpg as downloaded is not the published file ({fault}")
    assert "try again on another network, or get it from https://commons" in message
    assert "nstjax-" not in message  # the temporary folder's name
    assert os.listdir(cache / "styles") == []


def test_a_file_without_end_is_given_up(server, cache, monkeypatch):
    monkeypatch.setattr("nstjax.assets.download.MAX_BYTES", 2**18)
    server.content = bytes(2**26)
    assert "is not the published file (more than 0.25 MiB): try again on" in failure()
    assert os.listdir(cache / "styles") == []


@pytest.mark.parametrize(("status", "reason"), [(404, "Not Found"), (429, "Too Many Requests")])
def test_http_errors(server, cache, status, reason):
    server.status = status
    start = f"cannot download starry.jpg (the server answered {status} {reason}): get it from"
    assert failure().startswith(start)
    assert os.listdir(cache / "styles") == []


def test_a_cache_that_cannot_be_created(server, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NSTJAX_CACHE", str(tmp_path / "file" / "cache"))
    assert "cannot create the cache folder" in failure()
    assert server.asked == []


def test_a_folder_of_the_cache_that_cannot_be_created(server, cache):
    cache.mkdir()
    (cache / "styles").touch()
    assert f"cannot write {cache / 'styles' / 'starry.jpg'} (" in failure()


def test_the_assets_have_every_painting(assets, monkeypatch):
    monkeypatch.setenv("NSTJAX_ASSETS", str(assets))
    for name in PAINTINGS:
        path = find_painting(name, check=check)
        assert path.parent == assets / "styles"
        check(path)
