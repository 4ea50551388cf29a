import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).resolve().parents[2]


def imported(file: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def test_the_arrows_between_packages_hold(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", sys.path.copy())

    status = lint_imports(no_cache=True)

    # It should keep every contract of .importlinter
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


@pytest.mark.parametrize("file", sorted(ROOT.glob("execution/domain/*.py")), ids=lambda file: file.stem)
def test_the_domain_needs_the_standard_library_only(file: Path) -> None:
    foreign = {
        name
        for name in imported(file)
        if name.partition(".")[0] not in sys.stdlib_module_names and not name.startswith("execution.domain")
    }

    assert foreign == set()


def test_no_relative_import_hides_from_these_rules() -> None:
    packages = ("execution", "execution_project", "local_stack", "paper_exchange")
    files = [file for package in packages for file in ROOT.glob(f"{package}/**/*.py")]

    assert [str(file) for file in files if any(name.startswith(".") for name in imported(file))] == []
