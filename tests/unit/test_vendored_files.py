"""Files from other projects lie in one folder, and each is the one that VENDORED.md names."""

import hashlib
import re
from pathlib import Path

VENDOR = Path(__file__).resolve().parents[2] / "execution" / "static" / "vendor"
ROW = re.compile(
    r"^\| `(?P<file>[^`]+)` \| .* \| (?P<version>[\d.]+) \| (?P<licence>[\w.-]+) \| .* \| `(?P<sum>[0-9a-f]{64})` \|$",
    re.MULTILINE,
)


def test_every_vendored_file_is_listed_with_version_licence_and_its_own_checksum() -> None:
    text = (VENDOR / "VENDORED.md").read_text()
    listed = {row["file"]: row["sum"] for row in ROW.finditer(text)}
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VENDOR.iterdir() if path.suffix != ".md"
    }

    assert listed == found
    assert len(found) == 5
    assert {row["licence"] for row in ROW.finditer(text)} == {"0BSD", "Apache-2.0", "MIT"}
    # The name of each file carries its version, so that a browser never keeps an old one.
    assert [row["file"] for row in ROW.finditer(text) if row["version"] not in row["file"]] == []
