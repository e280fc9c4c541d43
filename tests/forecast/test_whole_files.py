"""What a command writes is whole, or what was there before."""

import re
import resource
import signal
from contextlib import contextmanager

import pytest

from forecast import load_posterior
from forecast.files import file_names, write_whole


@contextmanager
def full_disk(size):
    """A write beyond `size` bytes fails midway, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("old", ["what was there", None])
def test_a_full_disk_leaves_what_was_there(tmp_path, old):
    place = tmp_path / "table.csv"
    if old is not None:
        place.write_text(old)
    with full_disk(1000), pytest.raises(OSError, match="too large"):
        write_whole(place, "x" * 10_000)
    assert [f.name for f in tmp_path.iterdir()] == ([] if old is None else ["table.csv"])
    assert old is None or place.read_text() == old


def test_a_full_disk_leaves_the_posterior_that_was_there(additive, tmp_path):
    place = tmp_path / "posterior.nc"
    additive.save(place)
    before = place.read_bytes()
    with full_disk(len(before) // 2), pytest.raises(OSError, match="too large"):
        additive.save(place)
    assert place.read_bytes() == before
    assert load_posterior(place).seed == additive.seed
    assert [f.name for f in tmp_path.iterdir()] == ["posterior.nc"]


def test_devices_and_links_stay_what_they_are(tmp_path):
    write_whole("/dev/null", b"nothing")
    with open("/dev/null", "rb") as device:
        assert device.read() == b""
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"


def test_names_of_files_are_safe_and_no_two_alike():
    names = [
        "BankHeist",
        "a b",
        "a-b",
        "A-B",
        "ALE/Pong-v5",
        "../../etc",
        "x" * 300,
        "[/b] x",
        "日本",
        "...",
        "con\x1b[2J",
    ]
    parts = file_names(names)
    assert parts["BankHeist"] == "BankHeist"
    assert parts["ALE/Pong-v5"] == "ALE-Pong-v5"
    assert len({part.casefold() for part in parts.values()}) == len(names)
    assert all(re.fullmatch(r"[\w.-]{1,80}", part) and part.strip(".") == part for part in parts.values())
    assert file_names(reversed(names)) == parts
