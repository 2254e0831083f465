"""What to try while the demo is up."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from rich.markup import escape

from tests.demo.bot import Bot
from tests.demo.story import PAGE, Seen
from tests.github import GitHub, User, WorkTree


async def invitation(
    folder: Path, github: GitHub, bot: Bot, seen: Seen, work: WorkTree, developer: User
) -> list[str]:
    """Lines of rich markup; the working copy and the files that they name are made ready."""
    await work.checkout("main")
    login = github.url.replace("://", f"://{developer.login}:{developer.token}@")
    store = _secret(folder / "git-credentials", login)
    await work.git("config", "credential.helper", f"store --file={store}")
    await work.git("config", "user.name", developer.login)
    await work.git("config", "user.email", developer.email)
    header = _secret(folder / "github-header", f"Authorization: Bearer {developer.token}")
    api = _secret(folder / "api-header", f"Authorization: Bearer {bot.token()}")
    comments = f"{github.api_url}/repos/acme/hello/issues/{seen.number}/comments"
    body = shlex.quote(json.dumps({"body": "/redeploy"}))
    edit = f"sed -i 's/Hello/Good morning/' {PAGE} && git commit -qam 'Good morning' && git push"
    lines = [
        "",
        "[bold green]All of it is up.[/] Try:",
        "",
        "  [dim]# the pages, where you see all of it: a link that signs your browser in, once[/]",
        f"  {bot.sign_in()}",
        "  [dim]# production, and the pull request's preview[/]",
        f"  curl {seen.production_url}",
        f"  curl {seen.preview_url}",
        "  [dim]# a push: this is a clone of acme/hello that may push (main, and warmer for the preview)[/]",
        f"  cd {work.path} && {escape(edit)}",
        f"  [dim]# a clone of your own[/]\n  git -c credential.helper='store --file={store}' clone "
        f"{github.url}/acme/hello.git",
        "  [dim]# a command on the pull request[/]",
        f"  curl -H @{header} -d {escape(body)} {comments}",
        "  [dim]# what ran, what runs where, and the log of the bot and its worker[/]",
        f"  curl -H @{api} {bot.url}/api/v1/runs",
        f"  curl -H @{api} {bot.url}/api/v1/environments",
        f"  tail -f {bot.log}",
        "",
        "[bold]Ctrl-C[/] ends it and leaves nothing behind.",
        "",
    ]
    return [line for text in lines for line in text.split("\n")]


def _secret(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text + "\n")
    return path
