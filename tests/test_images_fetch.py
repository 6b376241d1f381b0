"""Addresses, against a server on this machine."""

import contextlib
import io
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from nstjax.errors import NstjaxError
from nstjax.images import load_image
from nstjax.images.fetch import fetch, is_url


def png():
    stream = io.BytesIO()
    Image.new("RGB", (4, 3), (255, 51, 0)).save(stream, "PNG")
    return stream.getvalue()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        with contextlib.suppress(ConnectionError):
            getattr(self, "answer_" + self.path.strip("/").split("?")[0])()

    def send(self, body, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def answer_picture(self):
        self.send(png())

    def answer_agent(self):
        self.send(self.headers["User-Agent"].encode())

    def answer_text(self):
        self.send(b"<html>not a picture</html>")

    def answer_empty(self):
        self.send(b"")

    def answer_missing(self):
        self.send(b"gone", 404)

    def answer_redirect(self):
        self.send(b"", 302, Location="/picture")

    def answer_circle(self):
        self.send(b"", 302, Location="/circle")

    def answer_elsewhere(self):
        self.send(b"", 302, Location="file:///etc/hostname")

    def answer_short(self):
        self.send(png()[:20], content_length="2000")

    def answer_endless(self):
        self.send(b"")
        while not self.server.stopping.is_set():  # pyright: ignore[reportAttributeAccessIssue]
            self.wfile.write(bytes(2**16))

    def answer_silent(self):
        self.server.stopping.wait(10)  # pyright: ignore[reportAttributeAccessIssue]

    def answer_drip(self):
        self.send(b"")
        while not self.server.stopping.wait(0.05):  # pyright: ignore[reportAttributeAccessIssue]
            self.wfile.write(b"x")

    def log_message(self, format, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    stopping: threading.Event


@pytest.fixture
def url(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    server = Server(("127.0.0.1", 0), Handler)
    server.stopping = threading.Event()
    before = set(threading.enumerate())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.stopping.set()
    server.shutdown()
    server.server_close()
    for left in set(threading.enumerate()) - before:
        left.join(5)


@pytest.mark.parametrize("page", ["picture", "redirect", "picture?size=5&name=a b"])
def test_picture(url, page):
    picture = load_image(f"{url}/{page}")
    assert picture.name == f"{url}/{page}"
    np.testing.assert_allclose(picture.pixels, np.broadcast_to([1, 0.2, 0], (1, 3, 4, 3)))


def test_names_itself(url):
    assert fetch(f"{url}/agent").startswith(b"nstjax/")


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("missing", "answered 404 .*: check the address"),
        ("text", "not a picture of a readable kind"),
        ("empty", "is empty"),
        ("circle", "TooManyRedirects"),
        ("elsewhere", "InvalidSchema"),
        ("short", "cannot fetch"),
    ],
)
def test_answers_that_are_no_picture(url, page, message):
    with pytest.raises(NstjaxError, match=message) as caught:
        load_image(f"{url}/{page}")
    assert f"{url}/{page}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_limit_of_bytes(url):
    with pytest.raises(NstjaxError, match="more than 1 MiB: download it yourself"):
        fetch(f"{url}/endless", max_bytes=2**20)


@pytest.mark.parametrize("page", ["silent", "drip"])
def test_limit_of_time(url, page):
    start = time.monotonic()
    with pytest.raises(NstjaxError, match=r"took more than 0\.3 s"):
        fetch(f"{url}/{page}", max_seconds=0.3)
    assert time.monotonic() - start < 5


def test_nobody_there(url, monkeypatch):
    server = Server(("127.0.0.1", 0), Handler)
    port = server.server_port
    server.server_close()
    with pytest.raises(NstjaxError, match="check the address and the network"):
        fetch(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("address", ["ftp://host/a.png", "file:///a.png", "s3://bucket/a.png"])
def test_other_schemes(address):
    with pytest.raises(NstjaxError, match="not an http or https address"):
        load_image(address)


@pytest.mark.parametrize("address", ["http://", "http://[::1", "http://a..b/", "http://.x/"])
def test_addresses_that_are_none(address):
    with pytest.raises(NstjaxError, match="check the address"):
        fetch(address)


def test_what_is_an_address():
    assert is_url("http://a/b.png")
    assert is_url("HTTPS://a/b.png")
    assert not is_url("C:\\pictures\\a.png")
    assert not is_url("folder//a.png")
    assert not is_url("a b://c")
