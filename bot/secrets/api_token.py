"""The API's token: the one that is set, or else one that the instance made for itself."""

from __future__ import annotations

from pathlib import Path

from bot.secrets import key_file
from config.errors import ConfigError
from config.settings import Settings

FILE = "api.token"


def made(settings: Settings) -> str:
    """The token, made in DATA_DIR where none is set. It blocks. Raises ConfigError."""
    if settings.api_token is None and not place(settings).exists():
        key_file.make(place(settings))
    return found(settings)


def found(settings: Settings) -> str:
    """The token that this instance's bot answers to. It blocks. Raises ConfigError if there is none yet."""
    if settings.api_token is not None:
        return settings.api_token.get_secret_value()
    file = place(settings)
    try:
        if token := file.read_text().strip():
            return token
        raise ConfigError(f"{file}: is empty: remove it, and restart the bot, which makes a new token")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise ConfigError(
            f"{file}: cannot be read ({why}): the bot makes it at its start; ask as its user, with its "
            "BLACKTREE_DATA_DIR, or set BLACKTREE_API_TOKEN"
        ) from None


def place(settings: Settings) -> Path:
    """Where the token is that nobody set."""
    return settings.data_dir / FILE
