"""The bootstrap script: what a newcomer with the wrong Python reads, and that nothing is installed twice."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.local_stack.helpers import ROOT

TOOLS = ("sh", "dirname", "cat", "cmp", "tail", "tee", "rm", "mkdir", "cp", "chmod", "sleep")
# A Python that answers the script's questions from its settings, and makes an environment of itself.
FAKE_PYTHON = """#!/bin/sh
case "$*" in
--version) echo "Python {version}" ;;
*version_info\\ \\<*) exit {too_old} ;;
*"import ensurepip, venv"*) exit {no_venv} ;;
*version_info*) echo "{version}" ;;
"-m venv --clear .venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
"-m pip install"*) echo "$*" >>installed; echo "Collecting celery==5"; sleep {pip_takes}; exit {pip_fails} ;;
esac
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with the script, two lists of packages, and a PATH without any Python."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/bootstrap", tmp_path / "scripts")
    (tmp_path / "requirements.lock").write_text("celery==5\n")
    (tmp_path / "requirements-dev.lock").write_text("-r requirements.lock\npytest==9\n")
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None, tool
        (tmp_path / "bin" / tool).symlink_to(found)
    return tmp_path


def add_python(
    project: Path,
    name: str,
    version: str,
    *,
    too_old: bool = False,
    no_venv: bool = False,
    pip_fails: bool = False,
    pip_takes: int = 0,
) -> None:
    path = project / "bin" / name
    numbers = {"too_old": int(too_old), "no_venv": int(no_venv), "pip_fails": int(pip_fails), "pip_takes": pip_takes}
    path.write_text(FAKE_PYTHON.format(version=version, **numbers))
    path.chmod(0o755)


def bootstrap(project: Path, kind: str = "runtime", **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(project / "scripts/bootstrap"), kind],
        env={"PATH": str(project / "bin"), **env},
        capture_output=True,
        text=True,
        check=False,
    )


def installs(project: Path) -> list[str]:
    log = project / "installed"
    return [line.split()[-1] for line in log.read_text().splitlines()] if log.exists() else []


def test_no_python_is_one_sentence(project: Path) -> None:
    answer = bootstrap(project)
    assert answer.returncode == 1
    assert answer.stderr == (
        "Python 3.11 or newer is needed, found no Python at all. "
        "Install one, or name one: make run PYTHON=/path/to/python3.11\n"
    )


def test_too_old_a_python_is_one_sentence(project: Path) -> None:
    add_python(project, "python3", "3.9.2", too_old=True)
    answer = bootstrap(project)
    assert answer.returncode == 1
    assert answer.stderr.startswith("Python 3.11 or newer is needed, found Python 3.9.2.")
    assert len(answer.stderr.splitlines()) == 1
    # It should have made nothing.
    assert not (project / ".venv").exists()


def test_a_newer_python_beside_an_old_one_is_found(project: Path) -> None:
    add_python(project, "python3", "3.9.2", too_old=True)
    add_python(project, "python3.12", "3.12.1")
    answer = bootstrap(project)
    assert answer.returncode == 0, answer.stderr
    assert "Making .venv with Python 3.12.1" in answer.stdout


def test_missing_venv_module_names_the_package(project: Path) -> None:
    add_python(project, "python3", "3.11", no_venv=True)
    answer = bootstrap(project)
    assert answer.returncode == 1
    assert answer.stderr == (
        "Python's venv module is missing. On Debian and Ubuntu: apt install python3.11-venv (or python3-venv).\n"
    )


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ("nowhere", "PYTHON=nowhere does not exist.\n"),
        ("old", "PYTHON=old is Python 3.8.1, but 3.11 or newer is needed.\n"),
    ],
)
def test_a_wrong_choice_is_named(project: Path, chosen: str, sentence: str) -> None:
    add_python(project, "python3", "3.11")
    add_python(project, "old", "3.8.1", too_old=True)
    answer = bootstrap(project, PYTHON=chosen)
    assert (answer.returncode, answer.stderr) == (1, sentence)


def test_installs_only_what_changed(project: Path) -> None:
    add_python(project, "python3", "3.11")

    assert [bootstrap(project).returncode for _ in range(2)] == [0, 0]
    assert installs(project) == ["requirements.lock"]
    bootstrap(project, "dev")
    # The development packages contain the others.
    bootstrap(project, "runtime")
    assert installs(project) == ["requirements.lock", "requirements-dev.lock"]

    (project / "requirements.lock").write_text("celery==6\n")
    bootstrap(project, "runtime")
    assert installs(project)[2:] == ["requirements.lock"]


def test_a_failed_installation_says_so_and_is_tried_again(project: Path) -> None:
    add_python(project, "python3", "3.11", pip_fails=True)
    answer = bootstrap(project)
    assert answer.returncode == 1
    assert answer.stderr.splitlines() == [
        "Collecting celery==5",
        "The packages of requirements.lock could not be installed; the whole log is .venv/bootstrap.log.",
    ]
    bootstrap(project)
    assert len(installs(project)) == 2


def test_who_waits_for_the_installation_sees_that_it_goes_on(project: Path) -> None:
    add_python(project, "python3", "3.11", pip_takes=4)
    answer = bootstrap(project)

    assert answer.returncode == 0, answer.stderr
    what = "Installing the packages of requirements.lock, once, usually less than a minute"
    assert [line for line in answer.stdout.splitlines() if line.startswith("Inst")][:2] == [
        f"{what} ...",
        f"{what}: package 1, celery, 3 s ...",
    ]
    # It should leave nothing behind that talks on.
    assert not (project / ".venv/bootstrap.now").exists()
