"""Files appear whole or not at all, and a place is tried before it is needed."""

import errno
import os

import numpy as np
import pytest

from nstjax.errors import NstjaxError
from nstjax.files import shortened, writing
from nstjax.images import check_output, save_image

PIXELS = np.zeros((1, 2, 2, 3), np.float32)


def failing(error):
    def fail(*_args, **_options):
        raise error

    return fail


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step, code):
    path = tmp_path / "out.png"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, step, failing(OSError(code, os.strerror(code))))
    with pytest.raises(NstjaxError, match=os.strerror(code)) as caught:
        save_image(path, PIXELS)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_interruption_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "out.png"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        save_image(path, PIXELS)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def write_and_raise(path, error):
    with writing(path) as stream:
        stream.write(b"new")
        raise error


def test_an_error_of_what_is_written_is_passed_on(tmp_path):
    """It is no fault of the file, which stays as it was."""
    path = tmp_path / "out.png"
    path.write_bytes(b"old")
    for error in (NstjaxError("of the caller"), ValueError("a bug")):
        with pytest.raises(ValueError, match=f"^{error}$") as caught:
            write_and_raise(path, error)
        assert caught.value is error
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_folders_are_created(tmp_path):
    save_image(tmp_path / "a" / "b" / "out.png", PIXELS)
    assert (tmp_path / "a" / "b" / "out.png").is_file()


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    save_image(tmp_path / "out.png", PIXELS)
    assert (tmp_path / "out.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "inner").mkdir()
    target, link = tmp_path / "inner" / "real.png", tmp_path / "link.png"
    target.write_bytes(b"old")
    try:
        link.symlink_to(target)
    except OSError:
        pytest.skip("this system makes no links")
    save_image(link, PIXELS)
    assert link.is_symlink()
    assert target.read_bytes().startswith(b"\x89PNG")


def test_output_that_can_be_written(tmp_path, monkeypatch):
    path = tmp_path / "new" / "out.png"
    assert check_output(str(path)) == path
    assert list(path.parent.iterdir()) == []
    path.write_bytes(b"old")
    assert check_output(path) == path
    assert path.read_bytes() == b"old"
    monkeypatch.chdir(tmp_path)
    check_output("out.jpg")


def test_output_that_cannot(tmp_path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(NstjaxError, match=r"folder\.png is a folder"):
        check_output(tmp_path / "folder.png")
    with pytest.raises(NstjaxError, match=r"cannot write .*folder\.png"):
        save_image(tmp_path / "folder.png", PIXELS)
    with pytest.raises(NstjaxError, match=r"cannot write .*out\.png"):
        check_output(tmp_path / "file" / "out.png")
    with pytest.raises(NstjaxError, match=r"did you mean '\.jpeg'"):
        check_output(tmp_path / "out.jpgeg")
    for name in ("x" * 300 + ".png", "a\0b.png"):
        with pytest.raises(NstjaxError, match="cannot write"):
            check_output(tmp_path / name)
        with pytest.raises(NstjaxError, match="cannot write"):
            save_image(tmp_path / name, PIXELS)


def test_output_folder_is_tried(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.TemporaryDirectory", failing(OSError(errno.EROFS, "Read-only")))
    with pytest.raises(NstjaxError, match=r"cannot write .*out\.png \(Read-only\)"):
        check_output(tmp_path / "out.png")


@pytest.mark.parametrize("stem", ["x" * 251, "ü" * 125, "写" * 83])
def test_names_as_long_as_a_file_system_takes(tmp_path, stem):
    path = check_output(tmp_path / f"{stem}.png")
    for _ in range(2):
        save_image(path, PIXELS)
    assert list(tmp_path.iterdir()) == [path]


def test_names_that_are_longer(tmp_path):
    with pytest.raises(NstjaxError, match=r"too long\): choose a shorter name"):
        check_output(tmp_path / f"{'x' * 252}.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "most", "cut"),
    [
        ("Tübingen", 9, "Tübingen"),
        ("Tübingen", 8, "Tübinge"),
        ("Tübingen", 2, "T"),
        ("写真", 5, "写"),
        ("\udcff" * 3, 9, "\udcff" * 3),  # bytes that are no text
    ],
)
def test_names_are_cut_between_characters(name, most, cut):
    assert shortened(name, most) == cut


def test_output_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(NstjaxError, match="Permission denied"):
        check_output(tmp_path / "out.png")
