"""What is installed is what the lock files name: each package of the closure, at one version, known by its hashes."""

import json
import re
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements", "requirements-dev")
# What makes an environment, and what is in it before the lock is read.
TOOLS = {"pip", "setuptools", "wheel"}


def locked(name: str) -> dict[str, Requirement]:
    """Return the packages of a lock file, and check that each is known by at least one hash."""
    found: dict[str, Requirement] = {}
    entries = re.split(r"\n(?=\S)", (ROOT / f"{name}.lock").read_text().strip())
    for entry in entries:
        line, *hashes = [part.strip().rstrip("\\").strip() for part in entry.splitlines()]
        assert hashes, line
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes), entry
        requirement = Requirement(line)
        found[canonicalize_name(requirement.name)] = requirement
    return found


def wanted(name: str) -> dict[str, Requirement]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / f"{name}.txt").read_text().splitlines())
    found = [Requirement(line) for line in lines if line and not line.startswith("-r")]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_has_every_requirement_at_its_version(name: str) -> None:
    lock = locked(name)
    requirements = wanted(name)

    assert len(requirements) >= 14
    assert {key: str(each.specifier) for key, each in requirements.items()} == {
        key: str(lock[key].specifier) for key in requirements
    }


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_has_one_exact_version(name: str) -> None:
    for requirement in locked(name).values():
        assert re.fullmatch(r"==[^,*]+", str(requirement.specifier)), requirement
        assert requirement.url is None


def test_development_has_what_production_has() -> None:
    development = locked("requirements-dev")

    assert {key: str(each.specifier) for key, each in locked("requirements").items()} == {
        key: str(development[key].specifier) for key in locked("requirements")
    }


def test_nothing_else_is_installed() -> None:
    lock = locked("requirements-dev")
    here = {canonicalize_name(each.metadata["Name"]): each.version for each in distributions()}

    assert {
        name: version
        for name, version in here.items()
        if name not in TOOLS and (name not in lock or str(lock[name].specifier) != f"=={version}")
    } == {}


def test_the_list_of_parts_names_every_package(tmp_path: Path) -> None:
    tool = Path(sys.executable).with_name("cyclonedx-py")
    subprocess.run(
        [tool, "requirements", ROOT / "requirements.lock", "--of", "JSON", "-o", tmp_path / "sbom.json"],
        check=True,
        capture_output=True,
        timeout=120,
    )

    parts = json.loads((tmp_path / "sbom.json").read_text())["components"]
    assert {canonicalize_name(part["name"]) for part in parts} == set(locked("requirements"))
