"""Repositories, branches, commits, comparisons, files."""

from tests.github.access import Refusal
from tests.github.api.routing import Answer, Call, Routes
from tests.github.bare import GitCommit
from tests.github.shapes import accounts, pulls, repositories

routes = Routes()
REPO = "/repos/{owner}/{repo}"
FILES_SHOWN = 300
HEADS = "refs/heads/"


async def commit_of(call: Call, ref: str) -> str:
    sha = await call.repository.bare.resolve(ref)
    if sha is None:
        raise Refusal(422 if len(ref) == 40 else 404, f"No commit found for SHA: {ref}")
    return sha


@routes.on("GET", REPO, "metadata", who=("user", "installation", "nobody"))
async def repository(call: Call) -> Answer:
    return Answer(repositories.repository(call.world, call.repository))


@routes.on("GET", REPO + "/collaborators/{username}/permission", "metadata")
async def permission(call: Call) -> Answer:
    user = call.world.users.get(call.params["username"].casefold())
    if user is None:
        raise Refusal(404, f"{call.params['username']} is not a user")
    return Answer(accounts.collaborator_permission(call.world, call.repository, user))


@routes.on("GET", REPO + "/contents", "contents")
@routes.on("GET", REPO + "/contents/", "contents")
@routes.on("GET", REPO + "/contents/{path*}", "contents")
async def contents(call: Call) -> Answer:
    one, path = call.repository, call.params.get("path", "").strip("/")
    ref = call.query.get("ref") or one.default_branch
    sha = await one.bare.resolve(ref)
    if sha is None:
        raise Refusal(404, f"No commit found for the ref {ref}")
    entries = await one.bare.entries(sha, path)
    if not entries:
        raise Refusal(404, "Not Found")
    if not path or entries[0].path != path:
        return Answer([repositories.content(call.world, one, ref, entry) for entry in entries])
    data = await one.bare.blob(entries[0].sha)
    accept = call.headers.get("accept", "")
    if "vnd.github.raw" in accept or "vnd.github.v3.raw" in accept:
        return Answer(data, headers={"Content-Type": "application/vnd.github.raw+json; charset=utf-8"})
    return Answer(repositories.content(call.world, one, ref, entries[0], data))


@routes.on("GET", REPO + "/commits", "contents")
async def commits(call: Call) -> Answer:
    one = call.repository
    start = await commit_of(call, call.query.get("sha") or one.default_branch)
    found = await one.bare.commits(start)
    return call.listing(found, lambda world, each: repositories.commit(world, one, each))


@routes.on("GET", REPO + "/commits/{sha}/pulls", "pull_requests")
async def pulls_of_commit(call: Call) -> Answer:
    sha = await commit_of(call, call.params["sha"])
    found = [pull for pull in call.repository.pulls.values() if sha in (pull.head_sha, pull.merge_commit_sha)]
    return call.listing(found, pulls.simple_pull)


@routes.on("GET", REPO + "/commits/{ref*}", "contents")
async def commit(call: Call) -> Answer:
    one = call.repository
    sha = await commit_of(call, call.params["ref"])
    if "sha" in call.headers.get("accept", "").partition("application/vnd.github.")[2]:
        return Answer(sha.encode(), headers={"Content-Type": "application/vnd.github.sha; charset=utf-8"})
    git = await one.bare.commit(sha)
    changes = await one.bare.changes(git)
    plus, minus = sum(each.additions for each in changes), sum(each.deletions for each in changes)
    return Answer(
        {
            **repositories.commit(call.world, one, git),
            "stats": {"total": plus + minus, "additions": plus, "deletions": minus},
            "files": [repositories.file_change(call.world, one, sha, each) for each in changes[:FILES_SHOWN]],
        }
    )


@routes.on("GET", REPO + "/branches", "contents")
async def branches(call: Call) -> Answer:
    one, wanted = call.repository, call.query.get("protected")
    found = [
        (name, sha)
        for name, sha in ((ref.split("/", 2)[2], sha) for ref, sha in (await one.bare.refs(HEADS)).items())
        if wanted is None or (name in one.protections) == (wanted == "true")
    ]
    return call.listing(found, lambda world, each: repositories.branch(world, one, *each))


@routes.on("GET", REPO + "/branches/{branch*}/protection", "administration", role="admin")
async def protection(call: Call) -> Answer:
    one, name = call.repository, call.params["branch"]
    await _branch(call, name)
    guard = one.protections.get(name)
    if guard is None or guard.ruleset:
        raise Refusal(404, "Branch not protected")
    return Answer(repositories.protection(call.world, one, name, guard))


@routes.on("GET", REPO + "/rules/branches/{branch*}", "metadata")
async def rules(call: Call) -> Answer:
    guard = call.repository.protections.get(call.params["branch"])
    found = repositories.rules(call.repository, guard) if guard and guard.ruleset else []
    return call.listing(found, lambda _, each: each)


@routes.on("GET", REPO + "/branches/{branch*}", "contents")
async def branch(call: Call) -> Answer:
    one, name = call.repository, call.params["branch"]
    sha = await _branch(call, name)
    return Answer(repositories.branch_with_commit(call.world, one, name, await one.bare.commit(sha)))


async def _branch(call: Call, name: str) -> str:
    sha = await call.repository.head(name)
    if sha is None:
        raise Refusal(404, "Branch not found")
    return sha


@routes.on("GET", REPO + "/git/matching-refs/{ref*}", "contents")
async def matching_refs(call: Call) -> Answer:
    one, prefix = call.repository, f"refs/{call.params['ref']}"
    found = [(ref, sha) for ref, sha in (await one.bare.refs()).items() if ref.startswith(prefix)]
    kinds = {sha: await one.bare.object_type(sha) for _, sha in found}
    return Answer([repositories.git_ref(call.world, one, ref, sha, kinds[sha]) for ref, sha in found])


@routes.on("GET", REPO + "/git/ref/{ref*}", "contents")
async def git_ref(call: Call) -> Answer:
    one, ref = call.repository, f"refs/{call.params['ref']}"
    sha = (await one.bare.refs(ref)).get(ref)
    if sha is None:
        raise Refusal(404, "Not Found")
    kind = await one.bare.object_type(sha)
    return Answer(repositories.git_ref(call.world, one, ref, sha, kind))


@routes.on("GET", REPO + "/compare/{basehead*}", "contents")
async def compare(call: Call) -> Answer:
    one, bare = call.repository, call.repository.bare
    left, dots, right = call.params["basehead"].partition("...")
    base, head = await _side(call, left), await _side(call, right)
    if not dots or not base or not head:
        raise Refusal(404, "Not Found")
    start = await bare.merge_base(base, head)
    if start is None:
        raise Refusal(404, f"No common ancestor between {left} and {right}.")
    new = list(reversed(await bare.commits(f"{base}..{head}")))
    behind = await bare.count(f"{head}..{base}")
    shown, headers = call.page(new) if "page" in call.query else (new[-250:], {})
    url = f"{repositories.api(call.world, one)}/compare/{left}...{right}"
    html = f"{call.world.url}/{one.full_name}/compare/{left}...{right}"

    def shape(git: GitCommit) -> dict[str, object]:
        return repositories.commit(call.world, one, git)

    return Answer(
        {
            "url": url,
            "html_url": html,
            "permalink_url": f"{call.world.url}/{one.full_name}/compare/{base[:12]}...{head[:12]}",
            "diff_url": f"{html}.diff",
            "patch_url": f"{html}.patch",
            "base_commit": shape(await bare.commit(base)),
            "merge_base_commit": shape(await bare.commit(start)),
            "status": _direction(len(new), behind),
            "ahead_by": len(new),
            "behind_by": behind,
            "total_commits": len(new),
            "commits": [shape(each) for each in shown],
            "files": [
                repositories.file_change(call.world, one, head, each)
                for each in (await bare.diff(start, head))[:FILES_SHOWN]
            ],
        },
        headers=headers,
    )


async def _side(call: Call, side: str) -> str | None:
    """The commit of one half of a comparison: a ref of this repository, or `owner:ref` of a fork."""
    owner, colon, ref = side.rpartition(":")
    if not colon or owner.casefold() == call.repository.owner.login.casefold():
        return await call.repository.bare.resolve(ref)
    for fork in call.world.repositories.values():
        if fork.parent is call.repository and fork.owner.login.casefold() == owner.casefold():
            sha = await fork.bare.resolve(ref)
            if sha:
                await call.repository.bare.git("fetch", "--quiet", "--no-tags", str(fork.bare.path), sha)
            return sha
    return None


def _direction(ahead: int, behind: int) -> str:
    if ahead and behind:
        return "diverged"
    return "ahead" if ahead else "behind" if behind else "identical"
