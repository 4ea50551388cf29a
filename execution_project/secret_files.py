"""Secrets by file: for every secret NAME, the setting NAME_FILE names a file that holds it and nothing else.

An environment is copied to every child and shows in inspections of
containers; a file has an owner and a mode. Docker and Kubernetes hand secrets over so.
"""

from pathlib import Path
from typing import Any, cast

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

SUFFIX = "_FILE"
LARGEST_BYTES = 16_384


class SecretFileError(ValueError):
    """A file that should hold a secret cannot be used; the message names the setting and never what the file holds."""


class SecretFiles(PydanticBaseSettingsSource):
    """The source of settings between the arguments and the environment."""

    def __init__(self, settings_cls: type[BaseSettings], *given: PydanticBaseSettingsSource) -> None:
        super().__init__(settings_cls)
        # The environment wins over `.env`.
        self._given: dict[str, str] = {}
        for source in reversed(given):
            self._given |= {name.lower(): value for name, value in cast("Any", source).env_vars.items() if value}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the secret of one field, the key under which it is handed on, and that it is not complex."""
        names = _names_of(field, field_name)
        key = names[0] if field.validation_alias else field_name
        files = [name + SUFFIX for name in names if (name + SUFFIX).lower() in self._given]
        if not files:
            return None, key, False
        values = [name for name in names if name.lower() in self._given]
        if len(files) + len(values) > 1:
            raise SecretFileError(f"{' and '.join([*files, *values])} name the same secret: give one of them")
        return read_secret(files[0], self._given[files[0].lower()]), key, False

    def __call__(self) -> dict[str, Any]:
        secrets = [
            self.get_field_value(field, name)
            for name, field in self.settings_cls.model_fields.items()
            if field.annotation is SecretStr
        ]
        return {key: value for value, key, _ in secrets if value is not None}


def read_secret(setting: str, path: str) -> str:
    """Return what a file holds, without the line's end.

    Raises:
        SecretFileError: it cannot be read, is empty, too large, or has more than one line.

    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
        text = content.decode()
    except OSError as error:
        raise SecretFileError(f"{setting} names a file that cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SecretFileError(f"{setting} names a file that is not text") from None
    if len(content) > LARGEST_BYTES:
        raise SecretFileError(f"{setting} names a file of more than {LARGEST_BYTES} bytes")
    secret = text.rstrip("\r\n")
    if not secret or "\n" in secret or "\0" in secret:
        raise SecretFileError(f"{setting} names a file that does not hold exactly one line")
    return secret


def _names_of(field: FieldInfo, field_name: str) -> list[str]:
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        return [str(choice) for choice in alias.choices]
    return [field_name.upper()]
