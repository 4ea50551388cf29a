"""The pictures need a Chromium: it is found, installed on request, or its absence is told; nothing is left out."""

from pathlib import Path

import pytest

from tests.screenshots.chromium import NoBrowserError, chromium

pytestmark = pytest.mark.usefixtures("bare_path")


@pytest.fixture
def bare_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH on which nothing is, and a user who may install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return tmp_path


def program(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_one_that_is_there_is_used(bare_path: Path) -> None:
    path = program(bare_path, "chromium", "exit 0")

    assert chromium(may_install=False) == str(path)


def test_its_absence_is_told_with_the_remedy() -> None:
    with pytest.raises(NoBrowserError, match="apt-get install --no-install-recommends chromium"):
        chromium(may_install=False)


def test_apt_installs_it_on_request_only(bare_path: Path) -> None:
    done, browser = bare_path / "asked", bare_path / "chromium"
    # The shell's own words only: nothing else is on the PATH.
    make = f'echo "$*" >> {done}; [ "$1" = install ] || exit 0; echo > {browser}; /bin/chmod 755 {browser}'
    program(bare_path, "apt-get", make)

    with pytest.raises(NoBrowserError):
        chromium(may_install=False)
    assert not done.exists()

    assert chromium(may_install=True) == str(browser)
    assert done.read_text().splitlines() == [
        "update -qq",
        "install -y -qq --no-install-recommends chromium fonts-liberation",
    ]


def test_an_installation_that_fails_is_told(bare_path: Path) -> None:
    with pytest.raises(NoBrowserError, match="no apt-get to install it with"):
        chromium(may_install=True)

    program(bare_path, "apt-get", "exit 100")
    with pytest.raises(NoBrowserError, match="exit status 100"):
        chromium(may_install=True)


def test_without_rights_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)

    with pytest.raises(NoBrowserError, match="no sudo and no apt-get"):
        chromium(may_install=True)
