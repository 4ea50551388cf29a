"""The transcript's own reading: what is a command, what is not run, and that nothing slips through."""

from pathlib import Path

import pytest

from tests.transcript.blocks import Block, blocks_of

FENCE = "```"


def read(tmp_path: Path, *lines: str) -> list[Block]:
    page = tmp_path / "page.md"
    page.write_text("\n".join(lines))
    return list(blocks_of(page))


def test_a_command_goes_on_over_lines_and_loses_no_comment_sign_of_its_own(tmp_path: Path) -> None:
    [block] = read(tmp_path, f"{FENCE}bash", "# only words", "curl -d '{", '  "a": "#1"', "}' \\", "  x", "ls", FENCE)

    assert [command.text for command in block.commands()] == ['curl -d \'{\n  "a": "#1"\n}\' \\\n  x', "ls"]


def test_a_console_shows_what_its_commands_print(tmp_path: Path) -> None:
    [block] = read(tmp_path, f"{FENCE}console", "$ echo 1", "1", "$ true", FENCE)

    assert [(command.text, command.shown) for command in block.commands()] == [("echo 1", "1"), ("true", "")]


def test_markers_stand_right_above_their_block(tmp_path: Path) -> None:
    first, second, third = read(
        tmp_path,
        "<!-- not run: needs Docker -->",
        f"{FENCE}bash",
        "docker ps",
        FENCE,
        "<!-- not run: far away -->",
        "",
        f"{FENCE}bash",
        "ls",
        FENCE,
        "<!-- not run: `make test`: runs this -->",
        f"{FENCE}bash",
        "make test",
        "make demo",
        FENCE,
    )

    assert first.skipped is not None
    assert first.skipped.reason == "needs Docker"
    assert second.skipped is None
    assert third.skipped is None
    assert third.skipped_commands == {"make test"}


@pytest.mark.parametrize("lines", [(f"{FENCE}bash", "ls"), (f"{FENCE}bash", "echo 'a", FENCE)])
def test_what_does_not_end_is_an_error(tmp_path: Path, lines: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="not"):
        [block.commands() for block in read(tmp_path, *lines)]
