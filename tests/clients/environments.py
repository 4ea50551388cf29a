"""Each client's own virtual environment under `.local/clients`, made again only when its pins change."""

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.paper import _die_with_parent

ROOT: Final = Path(__file__).resolve().parents[2]
HOME: Final = ROOT / ".local" / "clients"
INSTALL_TIMEOUT_S: Final = 300


class InstallError(Exception):
    """A client cannot be installed; the text is the end of the installer's output."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One client: its name, its pins, its environment."""

    name: str

    @property
    def requirements(self) -> Path:
        return Path(__file__).with_name(f"requirements-{self.name}.txt")

    @property
    def folder(self) -> Path:
        return HOME / self.name

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def client(self) -> str:
        """Name and version of the client, which is the first pin."""
        lines = self.requirements.read_text().splitlines()
        return next(line for line in lines if line and not line.startswith("#")).replace("==", " ")

    @property
    def log(self) -> Path:
        return HOME / f"{self.name}.log"

    def install(self) -> bool:
        """Bring the environment up to its pins; tells whether something had to be done."""
        stamp = self.folder / "installed"
        if stamp.exists() and stamp.read_text() == self._wanted():
            return False
        shutil.rmtree(self.folder, ignore_errors=True)
        HOME.mkdir(parents=True, exist_ok=True)
        uv = shutil.which("uv")
        if uv:
            self._run(uv, "venv", "--quiet", "--python", sys.executable, str(self.folder))
            self._run(uv, "pip", "install", "--python", str(self.python), "-r", str(self.requirements))
        else:
            self._run(sys.executable, "-m", "venv", str(self.folder))
            # Without compiling: ccxt alone has hundreds of modules that nobody imports here.
            pip = (str(self.python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input")
            self._run(*pip, "--no-compile", "-r", str(self.requirements))
        stamp.write_text(self._wanted())
        return True

    def _wanted(self) -> str:
        pins = hashlib.sha256(self.requirements.read_bytes()).hexdigest()
        return f"{pins} {sys.version_info.major}.{sys.version_info.minor}"

    def _run(self, *command: str) -> None:
        try:
            done = subprocess.run(
                ["nice", *command],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=INSTALL_TIMEOUT_S,
                check=False,
                preexec_fn=_die_with_parent,
            )
        except subprocess.TimeoutExpired as error:
            raise InstallError(f"not installed within {INSTALL_TIMEOUT_S} s") from error
        if done.returncode:
            raise InstallError(done.stdout.strip()[-500:])
