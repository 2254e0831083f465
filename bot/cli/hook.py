"""`blacktree hook`: a repository's webhook, for an instance that has a plain token."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from bot.cli.roles import BOT
from config.errors import ConfigError
from config.logging import configure
from config.settings import Settings
from config.sources import load

if TYPE_CHECKING:
    from bot.github.client import Client, GitHubRefused

app = typer.Typer(help="A repository's webhook.", no_args_is_help=True)
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}")
_TIMEOUT = 30.0  # seconds for one request


@app.callback()
def _group() -> None:
    """A repository's webhook."""  # with it typer keeps `install` a command of its own


@app.command()
def install(
    repository: Annotated[str, typer.Argument(metavar="OWNER/REPO")],
    config: Annotated[Path | None, typer.Option("--config", help="the TOML file with settings")] = None,
) -> None:
    """Make the repository's webhook to this instance, or correct the one that is there."""
    BOT.wanted()
    settings = load(file=config)
    configure(settings.log_format, quiet=True)
    Console().print(asyncio.run(installed(settings, repository)), markup=False, soft_wrap=True)


async def installed(settings: Settings, repository: str) -> str:
    """What was done, for people. Raises ConfigError with what is missing, or why GitHub did not do it."""
    import httpx2

    from bot.github.client import Client, GitHubError, GitHubRefused
    from bot.github.hooks import webhook_url
    from config.trust import trusted

    token, hook = _checked(settings, repository)
    url = webhook_url(settings.public_url)
    async with httpx2.AsyncClient(verify=trusted(), timeout=_TIMEOUT, follow_redirects=False) as http:
        client = Client(http, settings.github_api_url)
        try:
            made = await _made(client, f"/repos/{repository}/hooks", url, hook, token)
        except GitHubRefused as error:
            raise ConfigError(_refusal(repository, error)) from None
        except GitHubError as error:
            raise ConfigError(f"{error}. Try again later: nothing is doubled") from None
    return f"{repository}: the webhook to {url} is {'installed' if made else 'there, and up to date now'}"


def _checked(settings: Settings, repository: str) -> tuple[str, dict[str, Any]]:
    """The token, and the hook as it should be. Raises ConfigError."""
    from bot.github.hooks import EVENTS, out_of_reach, webhook_url

    if not _NAME.fullmatch(repository):
        raise ConfigError(f"{repository}: give the repository as OWNER/REPO")
    if settings.github_token is None:
        raise ConfigError(
            "BLACKTREE_GITHUB_TOKEN is missing. An App needs no repository's webhook: it has its own"
        )
    if settings.github_webhook_secret is None or not settings.github_webhook_secret.get_secret_value():
        raise ConfigError(
            "BLACKTREE_GITHUB_WEBHOOK_SECRET is missing: set the same here and for the bot, such as the "
            "output of: openssl rand -hex 32"
        )
    if not settings.public_url:
        raise ConfigError("BLACKTREE_PUBLIC_URL is missing: set the address at which GitHub reaches the bot")
    if sentence := out_of_reach(settings.public_url, settings.github_url):
        raise ConfigError(sentence)
    target = {
        "url": webhook_url(settings.public_url),
        "content_type": "json",
        "secret": settings.github_webhook_secret.get_secret_value(),
        "insecure_ssl": "0",
    }
    hook = {"active": True, "events": list(EVENTS), "config": target}
    return settings.github_token.get_secret_value(), hook


async def _made(client: Client, path: str, url: str, hook: dict[str, Any], token: str) -> bool:
    """Whether the hook was made; one with this URL was corrected instead. Raises GitHubError."""
    async for known in client.getiter(f"{path}?per_page=100", oauth_token=token):
        if known["config"].get("url", "").rstrip("/") == url:
            await client.patch(f"{path}/{known['id']}", data=hook, oauth_token=token)
            return False
    await client.post(path, data={"name": "web", **hook}, oauth_token=token)
    return True


def _refusal(repository: str, error: GitHubRefused) -> str:
    if error.status in (403, 404):
        return (
            f"{repository}: is not there, or this token may not see to its webhooks ({error}). It must be of "
            "somebody with admin rights there, with admin:repo_hook (a classic token) or Webhooks: read and "
            "write (a fine-grained one)"
        )
    if error.status == 401:
        return f"BLACKTREE_GITHUB_TOKEN: GitHub does not take it: {error}"
    return f"{repository}: {error}"
