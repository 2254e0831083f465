"""Pull requests: list, open, edit, merge."""

from tests.github import pulling
from tests.github.access import Refusal, sees
from tests.github.announce import pull_changed
from tests.github.api.repositories import FILES_SHOWN, REPO
from tests.github.api.routing import Answer, Call, Routes
from tests.github.model import Pull, Repository
from tests.github.shapes import pulls, repositories

routes = Routes()
ONE = REPO + "/pulls/{number}"
METHODS = ("merge", "squash", "rebase")


def pull_of(call: Call) -> Pull:
    pull = call.repository.pulls.get(call.number("number"))
    if pull is None:
        raise Refusal(404, "Not Found")
    return pull


def invalid(field: str, message: str) -> Refusal:
    error = {"resource": "PullRequest", "code": "custom", "field": field, "message": message}
    return Refusal(422, "Validation Failed", [error])


@routes.on("GET", REPO + "/pulls", "pull_requests")
async def listing(call: Call) -> Answer:
    state, head, base = (call.query.get(name) for name in ("state", "head", "base"))
    found = [
        pull
        for pull in call.repository.pulls.values()
        if state == "all" or pull.state == (state or "open")
        if not base or pull.base == base
        # GitHub ignores a head without its owner.
        if not head or ":" not in head or f"{pull.head_owner.login}:{pull.head}".lower() == head.lower()
    ]
    newest_first = call.query.get("direction", "desc") == "desc"
    found.sort(key=lambda pull: pull.number, reverse=newest_first)
    return call.listing(found, pulls.simple_pull)


@routes.on("POST", REPO + "/pulls", "pull_requests", role="read")
async def create(call: Call) -> Answer:
    # One at a time, so that each has its own number.
    async with call.world.locks[call.repository.id]:
        return await _create(call)


async def _create(call: Call) -> Answer:
    world, repository, user = call.world, call.repository, call.principal.actor
    base, head, title = (call.required(name, str) for name in ("base", "head", "title"))
    source, branch = _source(call, head)
    if not await repository.head(base):
        raise invalid("base", f"{base} does not exist")
    if not await source.head(branch):
        raise invalid("head", f"{head} does not exist")
    for other in repository.pulls.values():
        same = (other.head_repository, other.head, other.base) == (source, branch, base)
        if same and other.state == "open":
            raise invalid("", f"A pull request already exists for {source.owner.login}:{branch}.")
    now = world.now()
    pull = Pull(
        id=next(world.ids),
        number=repository.next_number(),
        repository=repository,
        user=user,
        title=title,
        body=call.field("body", str, "") or None,
        base=base,
        head=branch,
        head_repository=source,
        head_owner=source.owner,
        created_at=now,
        updated_at=now,
        draft=call.field("draft", bool, False),
    )
    await pulling.measure(pull)
    if pull.commits == 0:
        raise invalid("", f"No commits between {base} and {branch}")
    pulling.opened(world, pull, user)
    return Answer(pulls.pull(world, pull), 201)


def _source(call: Call, head: str) -> tuple[Repository, str]:
    """The repository and branch of `branch`, or of `owner:branch` in this repository or a fork of it."""
    owner, colon, branch = head.rpartition(":")
    if not colon or owner.casefold() == call.repository.owner.login.casefold():
        return call.repository, branch
    for fork in call.world.repositories.values():
        if fork.parent is call.repository and fork.owner.login.casefold() == owner.casefold():
            if not sees(call.principal, fork):
                break
            return fork, branch
    raise invalid("head", f"{head} does not exist")


@routes.on("GET", ONE, "pull_requests")
async def one(call: Call) -> Answer:
    return Answer(pulls.pull(call.world, pull_of(call)))


@routes.on("GET", ONE + "/files", "pull_requests")
async def files(call: Call) -> Answer:
    pull, bare = pull_of(call), call.repository.bare
    start = await bare.merge_base(pull.base_sha, pull.head_sha) or pull.base_sha
    changes = (await bare.diff(start, pull.head_sha))[: FILES_SHOWN * 10]
    return call.listing(
        changes,
        lambda world, each: repositories.file_change(world, call.repository, pull.head_sha, each),
    )


@routes.on("PATCH", ONE, "pull_requests", role="read")
async def edit(call: Call) -> Answer:
    world, pull, user = call.world, pull_of(call), call.principal.actor
    if call.principal.kind == "user" and user is not pull.user and call.repository.role(user) == "read":
        raise Refusal(403, "Must have write access to the pull request")
    state = call.field("state", str, pull.state, values=("open", "closed"))
    base = call.field("base", str, pull.base)
    if base != pull.base and not await call.repository.head(base):
        raise invalid("base", f"Proposed base branch '{base}' was not found")
    if pull.merged_at and state == "open":
        raise invalid("state", "state cannot be changed. The pull request is merged.")
    changes: dict[str, object] = {}
    title, body = call.field("title", str, pull.title), call.field("body", str, pull.body or "") or None
    if title != pull.title:
        changes["title"] = {"from": pull.title}
    if body != pull.body:
        changes["body"] = {"from": pull.body or ""}
    if base != pull.base:
        changes["base"] = {"ref": {"from": pull.base}, "sha": {"from": pull.base_sha}}
    pull.title, pull.body, pull.base, pull.updated_at = title, body, base, world.now()
    if changes:
        await pulling.measure(pull)
        pull_changed(world, pull, "edited", user, {"changes": changes})
    if state != pull.state:
        if state == "closed":
            pulling.closed(world, pull, user)
        else:
            await pulling.reopened(world, pull, user)
    return Answer(pulls.pull(world, pull))


@routes.on("PUT", ONE + "/update-branch", "pull_requests", role="read")
async def update_branch(call: Call) -> Answer:
    """The base merged into the head; GitHub does it after its answer, here it is done before."""
    world, pull = call.world, pull_of(call)
    source, person = pull.head_repository, call.principal.kind == "user"
    writer = source and source.role(call.principal.actor) in ("write", "maintain", "admin")
    if not source or not (writer if person else source is call.repository):
        raise Refusal(403, "Resource not accessible by integration")
    if call.field("expected_head_sha", str, pull.head_sha) != pull.head_sha:
        raise Refusal(422, "expected head sha didn\u2019t match current head ref.")
    if pull.state != "open":
        raise Refusal(422, "Pull request is closed")
    if await call.repository.bare.is_ancestor(pull.base_sha, pull.head_sha):
        raise Refusal(422, "There are no new commits on the base branch.")
    if not await pulling.update(world, pull, call.principal.actor):
        raise Refusal(422, "merge conflict between base and head")
    url = f"{repositories.api(world, call.repository)}/pulls/{pull.number}"
    return Answer({"message": "Updating pull request branch.", "url": url}, 202)


@routes.on("PUT", ONE + "/merge", "contents")
async def merge(call: Call) -> Answer:
    pull = pull_of(call)
    method = call.field("merge_method", str, "merge", values=METHODS)
    if pull.state != "open" or pull.draft:
        raise Refusal(405, "Pull Request is not mergeable")
    if method == "rebase":
        raise Refusal(405, "Rebase merges are not allowed on this repository.")
    if call.field("sha", str, pull.head_sha) != pull.head_sha:
        raise Refusal(409, "Head branch was modified. Review and try the merge again.")
    usual = f"Merge pull request #{pull.number} from {pull.head_owner.login}/{pull.head}"
    squashed = f"{pull.title} (#{pull.number})"
    title = call.field("commit_title", str, squashed if method == "squash" else usual)
    message = f"{title}\n\n{call.field('commit_message', str, pull.title)}"
    sha = await pulling.merge(
        call.world, pull, call.principal.actor, squash=method == "squash", message=message
    )
    if sha is None:
        raise Refusal(405, "Pull Request has merge conflicts")
    return Answer({"sha": sha, "merged": True, "message": "Pull Request successfully merged"})
