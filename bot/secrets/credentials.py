"""With what this instance speaks to GitHub: from its settings, else from what `/setup` sealed."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, SecretStr

from bot.secrets.vault import Vault
from config.errors import ConfigError
from config.settings import Settings

SEALED = "sealed"  # as GITHUB_WEBHOOK_SECRET_PREVIOUS: the one that `/setup` brought home
_PREFIX = "github_app."


class MadeApp(BaseModel):
    """An App as GitHub gives it after its manifest."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    id: int
    slug: str
    html_url: str
    pem: SecretStr
    webhook_secret: SecretStr
    client_id: str
    client_secret: SecretStr


def unset(settings: Settings) -> bool:
    """Whether the settings say nothing of who this instance is to GitHub."""
    return not (settings.github_token or settings.github_app_id or settings.github_webhook_secret)


async def keep(vault: Vault, app: MadeApp) -> None:
    """Seal all of an App's credentials, or none."""
    values = {
        "id": str(app.id),
        "slug": app.slug,
        "private_key": app.pem.get_secret_value(),
        "webhook_secret": app.webhook_secret.get_secret_value(),
        "client_id": app.client_id,
        "client_secret": app.client_secret.get_secret_value(),
    }
    await vault.put({_PREFIX + name: value for name, value in values.items()})


async def completed(settings: Settings, vault: Vault) -> Settings:
    """The settings with the sealed App and its webhook secret where they name none. Raises ConfigError."""
    before = settings.github_webhook_secret_previous
    previous = before is not None and before.get_secret_value() == SEALED
    if settings.github_webhook_secret and (settings.github_token or settings.github_app_id) and not previous:
        return settings
    sealed = await vault.all()
    if _PREFIX + "id" not in sealed:
        if previous:
            raise ConfigError("BLACKTREE_GITHUB_WEBHOOK_SECRET_PREVIOUS: there is no sealed one; remove it")
        return settings
    found: dict[str, object] = {}
    if not (settings.github_token or settings.github_app_id):
        found["github_app_id"] = int(sealed[_PREFIX + "id"])
        found["github_app_private_key"] = SecretStr(sealed[_PREFIX + "private_key"])
    for name, wanted in (
        ("github_webhook_secret", not settings.github_webhook_secret),
        ("github_webhook_secret_previous", previous),
    ):
        if wanted:
            found[name] = SecretStr(sealed[_PREFIX + "webhook_secret"])
    app = found.get("github_app_id", settings.github_app_id)
    if not settings.github_client_id and str(app) == sealed[_PREFIX + "id"]:
        found["github_client_id"] = sealed[_PREFIX + "client_id"]
        found["github_client_secret"] = SecretStr(sealed[_PREFIX + "client_secret"])
    return settings.model_copy(update=found)


def webhook_secrets(settings: Settings) -> tuple[bytes, ...]:
    """The secrets that deliveries may be signed with, the newest first. Raises ConfigError."""
    given = (settings.github_webhook_secret, settings.github_webhook_secret_previous)
    texts = [secret.get_secret_value() for secret in given if secret]
    if not settings.github_webhook_secret or not texts[0]:
        raise ConfigError(
            "BLACKTREE_GITHUB_WEBHOOK_SECRET is missing: set the secret of the webhook at GitHub"
        )
    return tuple(text.encode() for text in texts if text)
