"""Repositories, branches, commits, comparisons, files."""

from tests.github.access import Refusal
from tests.github.api.routing import Answer, Call, Routes
from tests.github.bare import GitCommit
from tests.github.shapes import accounts, pulls, repositories

routes = Routes()
REPO = "/repos/{owner}/{repo}"
FILES_SHOWN = 300


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
    one = call.repository
    found = [(ref.split("/", 2)[2], sha) for ref, sha in (await one.bare.refs("refs/heads/")).items()]
    return call.listing(found, lambda world, each: repositories.branch(world, one, *each))


@routes.on("GET", REPO + "/branches/{branch*}", "contents")
async def branch(call: Call) -> Answer:
    one, name = call.repository, call.params["branch"]
    sha = (await one.bare.refs(f"refs/heads/{name}")).get(f"refs/heads/{name}")
    if sha is None:
        raise Refusal(404, "Branch not found")
    return Answer(repositories.branch_with_commit(call.world, one, name, await one.bare.commit(sha)))


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
    base, head = await bare.resolve(left), await bare.resolve(right)
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


def _direction(ahead: int, behind: int) -> str:
    if ahead and behind:
        return "diverged"
    return "ahead" if ahead else "behind" if behind else "identical"
