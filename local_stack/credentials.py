"""The passwords and the key of one local stack: made once, kept in a file that only its owner can read."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from secrets import token_urlsafe
from typing import Self

ADMIN = "admin"


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What signs in to Django admin and Flower as `admin`, and what Django signs its cookies with."""

    admin_password: str
    flower_password: str
    secret_key: str

    @classmethod
    def load_or_create(cls, path: Path) -> tuple[Self, bool]:
        """Return the credentials in `path`, and whether they were made just now."""
        if path.exists():
            return cls(**json.loads(path.read_text())), False
        made = cls(admin_password=token_urlsafe(12), flower_password=token_urlsafe(12), secret_key=token_urlsafe(50))
        # Opened with its final mode: no moment in which others could read it.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(asdict(made), file, indent=2)
        return made, True
