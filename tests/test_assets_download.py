"""Downloads from a server on this machine that misbehaves on request."""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from nstjax.assets import VGG_WEIGHTS, Asset, find_weights
from nstjax.errors import NstjaxError

CONTENT = bytes(range(256)) * 1200  # 300 kB: several chunks
FILENAME = "vgg19_small_notop.h5"


class Server(ThreadingHTTPServer):
    """Serves `content` at any path, in the manner that `behaviour` names."""

    daemon_threads = True
    content = CONTENT
    behaviour = "good"
    requests = 0

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.half_sent = threading.Event()
        self.go_on = threading.Event()
        self.both_inside = threading.Barrier(2)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/{FILENAME}"

    def handle_error(self, request, client_address):
        """Clients that hang up are part of these tests."""


class Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format, *args):
        """Keeps stderr for what is tested."""

    def do_GET(self):
        server = self.server
        server.requests += 1
        if server.behaviour == "404":
            self.send_error(404)
            return
        if server.behaviour == "silent":
            server.go_on.wait(20)
            return
        half = len(server.content) // 2
        self.send_response(200)
        self.send_header("Content-Length", str(len(server.content)))
        self.end_headers()
        self.wfile.write(server.content[:half])
        self.wfile.flush()
        server.half_sent.set()
        if server.behaviour == "drop" or (server.behaviour == "drop once" and server.requests == 1):
            return
        if server.behaviour == "stall":
            server.go_on.wait(20)
        if server.behaviour == "pair":
            server.both_inside.wait(20)
        self.wfile.write(server.content[half:])


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.go_on.set()
        server.shutdown()
        thread.join()


def small_asset(url: str, **changes) -> Asset:
    fields = {
        "filename": FILENAME,
        "url": url,
        "size": len(CONTENT),
        "md5": hashlib.md5(CONTENT).hexdigest(),
        "licence": "none",
        "credit": "nobody",
    }
    return Asset(**(fields | changes))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch, server):
    """An empty cache, a machine that is online, and a table entry that the server serves."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("NSTJAX_CACHE", str(folder))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("NSTJAX_ASSETS", raising=False)
    monkeypatch.delenv("NSTJAX_OFFLINE", raising=False)
    monkeypatch.setattr("nstjax.assets.download.RETRY_WAITS_S", (0.0, 0.0))
    monkeypatch.setitem(VGG_WEIGHTS, ("vgg19", False), small_asset(server.url))
    return folder


def failure() -> str:
    """The message of a download that must fail, which is one line."""
    with pytest.raises(NstjaxError) as caught:
        find_weights("vgg19")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_downloads_once(server, cache, capfd):
    path = find_weights("vgg19")
    assert path == cache / FILENAME
    assert path.read_bytes() == CONTENT
    assert find_weights("vgg19") == path
    assert server.requests == 1
    assert os.listdir(cache) == [FILENAME]
    assert capfd.readouterr() == ("", "")


def test_progress_goes_to_stderr(capfd):
    find_weights("vgg19", progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert f"{FILENAME}: 100%" in err
    assert "307k/307k" in err


def test_offline_makes_no_request(server, monkeypatch):
    monkeypatch.setenv("NSTJAX_OFFLINE", "1")
    assert "NSTJAX_OFFLINE forbids" in failure()
    assert server.requests == 0
    monkeypatch.setenv("NSTJAX_OFFLINE", "0")
    assert find_weights("vgg19").read_bytes() == CONTENT


def test_a_cached_file_cut_short_is_downloaded_again(cache):
    cache.mkdir()
    (cache / FILENAME).write_bytes(CONTENT[:1000])
    assert find_weights("vgg19").read_bytes() == CONTENT


def test_a_dropped_connection_is_tried_again(server, cache):
    server.behaviour = "drop once"
    assert find_weights("vgg19").read_bytes() == CONTENT
    assert server.requests == 2
    assert os.listdir(cache) == [FILENAME]


def test_a_connection_that_always_drops(server, cache):
    server.behaviour = "drop"
    message = failure()
    assert message.startswith(f"cannot download {FILENAME} (the connection broke off): get it from")
    for place in (server.url, str(cache), "NSTJAX_ASSETS", "--vgg-weights"):
        assert place in message
    assert server.requests == 3
    assert os.listdir(cache) == []


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"<html>please log in</html>", "26 bytes instead of 307,200"),
        (
            CONTENT[::-1],
            f"MD5 {hashlib.md5(CONTENT[::-1]).hexdigest()} "
            f"instead of {hashlib.md5(CONTENT).hexdigest()}",
        ),
    ],
)
def test_wrong_content(server, cache, content, fault):
    server.content = content
    message = failure()
    assert message.startswith(f"{FILENAME} as downloaded is not the published file ({fault})")
    assert server.url in message
    assert os.listdir(cache) == []


def test_sha256_is_checked_where_it_is_known(server, cache, monkeypatch):
    right = hashlib.sha256(CONTENT).hexdigest()
    monkeypatch.setitem(VGG_WEIGHTS, ("vgg19", False), small_asset(server.url, sha256="0" * 64))
    assert f"(SHA256 {right} instead of {'0' * 64})" in failure()
    assert os.listdir(cache) == []
    monkeypatch.setitem(VGG_WEIGHTS, ("vgg19", False), small_asset(server.url, sha256=right))
    assert find_weights("vgg19").read_bytes() == CONTENT


def test_http_error(server, cache):
    server.behaviour = "404"
    assert f"cannot download {FILENAME} (the server answered 404 Not Found)" in failure()
    assert server.requests == 1
    assert os.listdir(cache) == []


@pytest.mark.parametrize(("behaviour", "tries"), [("silent", 1), ("stall", 3)])
def test_timeout(server, cache, monkeypatch, behaviour, tries):
    monkeypatch.setattr("nstjax.assets.download.TIMEOUT_S", 0.8)
    server.behaviour = behaviour
    began = time.monotonic()
    assert f"cannot download {FILENAME} (no answer within 0.8 s)" in failure()
    assert time.monotonic() - began < 10
    assert server.requests == tries
    assert os.listdir(cache) == []


def test_an_address_that_never_answers_is_tried_once(monkeypatch):
    waits = []

    def connect(url, **options):
        waits.append(options["timeout"])
        raise requests.ConnectTimeout

    monkeypatch.setattr(requests, "get", connect)
    assert f"cannot download {FILENAME} (no answer within 30 s)" in failure()
    assert waits == [30.0]


def test_no_server_at_the_address(monkeypatch):
    with socket.socket() as not_listening:
        not_listening.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{not_listening.getsockname()[1]}/x"
        monkeypatch.setitem(VGG_WEIGHTS, ("vgg19", False), small_asset(url))
        assert f"cannot download {FILENAME} (no connection): get it from {url}" in failure()


def test_no_network(server, monkeypatch):
    def unresolvable(*args, **kwargs):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", unresolvable)
    assert f"cannot download {FILENAME} (no connection): get it from {server.url}" in failure()


def test_too_little_space_is_seen_beforehand(server, cache, monkeypatch):
    usage = shutil.disk_usage(".")._replace(free=len(CONTENT) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    message = failure()
    assert message.startswith(f"{cache} has 0 MB free and {FILENAME} needs 0 MB: free some space")
    assert server.requests == 0


def test_a_disk_that_fills_up_meanwhile(server, cache):
    resource = pytest.importorskip("resource", reason="Windows has no limit on the size of files")
    # The size limit of a process stands in for the disk: a real write fails half way.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        message = failure()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert message.startswith(f"cannot write {cache / FILENAME} (File too large): free some space")
    assert os.listdir(cache) == []


# Another process, with the same table entry and the environment of the test.
SCRIPT = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run behind `&`
from nstjax.assets import VGG_WEIGHTS, Asset, find_weights
url, filename, size, md5 = sys.argv[1:]
VGG_WEIGHTS["vgg19", False] = Asset(filename, url, int(size), md5, "none", "nobody")
print(find_weights("vgg19"))
"""


def start_process(server: Server) -> "subprocess.Popen[str]":
    md5 = hashlib.md5(CONTENT).hexdigest()
    arguments = [server.url, FILENAME, str(len(CONTENT)), md5]
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_at_once(server, cache):
    # The server gives neither its second half before both have their first.
    server.behaviour = "pair"
    processes = [start_process(server) for _ in range(2)]
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert (out.strip(), err, process.returncode) == (str(cache / FILENAME), "", 0)
    assert server.requests == 2
    assert (cache / FILENAME).read_bytes() == CONTENT
    assert os.listdir(cache) == [FILENAME]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_download_starts_afresh(server, cache, how):
    server.behaviour = "stall"
    process = start_process(server)
    assert server.half_sent.wait(60)
    time.sleep(0.1)
    process.send_signal(how)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert FILENAME not in os.listdir(cache)
    if how == signal.SIGINT:
        assert os.listdir(cache) == []
    server.behaviour = "good"
    assert find_weights("vgg19").read_bytes() == CONTENT
