"""The small disk of the storm is full when it says so, for whoever runs the tests."""

import contextlib
import errno
import os

import pytest

from tests.chaos.disk import small_disk


def test_a_full_disk_takes_nothing_and_a_freed_one_does(tmp_path):
    with small_disk(tmp_path / "schijf", 1) as disk:
        if not disk.fillable:
            pytest.skip("a tmpfs can't be mounted here")
        (disk.path / "eerst").write_bytes(b"x" * 1000)
        disk.fill()
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            (disk.path / "dan").write_bytes(b"x" * 100_000)
        disk.free()
        (disk.path / "dan").write_bytes(b"x" * 100_000)
    assert not list((tmp_path / "schijf").iterdir())


def test_a_test_that_fails_leaves_no_disk_behind(tmp_path):
    with contextlib.suppress(AssertionError), small_disk(tmp_path / "schijf", 1):
        raise AssertionError
    assert not (tmp_path / "schijf").is_mount()
