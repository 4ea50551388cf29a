"""Every sentence about security names a test, and each test that is named exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"`(?:[\w/]*/)?(test_\w+\.py)::(test_\w+)`")
FUNCTION = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)
PAGES = {"README.md": "Security", "docs/security.md": None}


def files_with_tests() -> dict[str, set[str]]:
    return {path.name: set(FUNCTION.findall(path.read_text())) for path in ROOT.glob("tests/**/test_*.py")}


def text_of(page: str) -> str:
    text, section = (ROOT / page).read_text(), PAGES[page]
    return text if section is None else text.partition(f"## {section}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("page", PAGES)
def test_each_named_test_exists(page: str) -> None:
    named = NAMED.findall(text_of(page))
    known = files_with_tests()

    assert len(named) >= 8
    assert [(file, name) for file, name in named if name not in known.get(file, set())] == []


def test_each_sentence_of_the_readme_names_one() -> None:
    sentences = re.findall(r"^- .+(?:\n  .+)*", text_of("README.md"), flags=re.MULTILINE)

    assert len(sentences) >= 8
    assert [sentence for sentence in sentences if not NAMED.search(sentence)] == []


def test_each_attack_of_the_table_names_one() -> None:
    rows = [row for row in text_of("docs/security.md").splitlines() if row.startswith("| ") and "---" not in row]
    attacks = [row for row in rows if row.count("|") == 4 and not row.startswith("| attack |")]

    assert len(attacks) >= 40
    assert [row for row in attacks if "test_" not in row] == []
