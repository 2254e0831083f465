"""What happens to pull requests, by whoever does it: refs, mergeability and events follow."""

from tests.github.announce import pull_changed, pushed
from tests.github.bare import ZERO
from tests.github.model import Pull, Repository, User
from tests.github.world import World


async def measure(pull: Pull) -> None:
    """Bring refs/pull/N/*, the SHAs, the counts and the mergeability up to date."""
    bare = pull.repository.bare
    head_ref, merge_ref = f"refs/pull/{pull.number}/head", f"refs/pull/{pull.number}/merge"
    source = pull.head_repository
    if source and source is not pull.repository:
        await bare.git(
            "fetch", "--quiet", "--no-tags", str(source.bare.path), f"+refs/heads/{pull.head}:{head_ref}"
        )
    base = await bare.resolve(f"refs/heads/{pull.base}")
    head = await bare.resolve(head_ref if source is not pull.repository else f"refs/heads/{pull.head}")
    if not base or not head:
        return
    pull.base_sha, pull.head_sha = base, head
    await bare.update_ref(head_ref, head)
    start = await bare.merge_base(base, head) or base
    changes = await bare.diff(start, head)
    pull.commits = await bare.count(f"{base}..{head}")
    pull.changed_files = len(changes)
    pull.additions = sum(change.additions for change in changes)
    pull.deletions = sum(change.deletions for change in changes)
    tree = await bare.merge_tree(base, head)
    pull.mergeable = tree is not None
    if tree:
        signature = pull.user.signature(pull.updated_at)
        message = f"Merge {head} into {base}"
        pull.merge_commit_sha = await bare.commit_tree(tree, [base, head], message, signature)
        await bare.update_ref(merge_ref, pull.merge_commit_sha)
    else:
        pull.merge_commit_sha = None


def opened(world: World, pull: Pull, sender: User) -> None:
    """For a pull request that has been measured."""
    pull.repository.pulls[pull.number] = pull
    pull_changed(world, pull, "opened", sender)


async def synchronized(world: World, pull: Pull, before: str, after: str, sender: User) -> None:
    pull.updated_at = world.now()
    await measure(pull)
    pull_changed(world, pull, "synchronize", sender, {"before": before, "after": after})


def closed(world: World, pull: Pull, sender: User) -> None:
    pull.state = "closed"
    pull.closed_at = pull.updated_at = world.now()
    pull_changed(world, pull, "closed", sender)


async def reopened(world: World, pull: Pull, sender: User) -> None:
    pull.state, pull.closed_at, pull.updated_at = "open", None, world.now()
    await measure(pull)
    pull_changed(world, pull, "reopened", sender)


def merged(world: World, pull: Pull, sha: str, sender: User) -> None:
    pull.merged_at, pull.merged_by, pull.merge_commit_sha = world.now(), sender, sha
    closed(world, pull, sender)


async def merge(world: World, pull: Pull, sender: User, *, squash: bool, message: str) -> str | None:
    """Merge on the server and push it to the base branch; None where there are conflicts."""
    bare = pull.repository.bare
    async with world.locks[pull.repository.id]:
        base = await bare.resolve(f"refs/heads/{pull.base}")
        tree = await bare.merge_tree(base, pull.head_sha) if base else None
        if not base or not tree:
            return None
        parents = [base] if squash else [base, pull.head_sha]
        sha = await bare.commit_tree(tree, parents, message, sender.signature(world.now()))
        await bare.update_ref(f"refs/heads/{pull.base}", sha)
    merged(world, pull, sha, sender)
    await branch_moved(world, pull.repository, pull.base, base, sha, sender)
    await pushed(world, pull.repository, f"refs/heads/{pull.base}", base, sha, sender)
    return sha


async def update(world: World, pull: Pull, sender: User) -> bool:
    """Merge the base into the head, on the server; False where there are conflicts."""
    source, bare = pull.head_repository, pull.repository.bare
    if source is None:
        return False
    async with world.locks[source.id]:
        before = pull.head_sha
        tree = await bare.merge_tree(before, pull.base_sha)
        if not tree:
            return False
        message = f"Merge branch '{pull.base}' into {pull.head}"
        signature = sender.signature(world.now())
        sha = await bare.commit_tree(tree, [before, pull.base_sha], message, signature)
        if source is not pull.repository:
            await source.bare.git("fetch", "--quiet", "--no-tags", str(bare.path), sha)
        await source.bare.update_ref(f"refs/heads/{pull.head}", sha)
    await pushed(world, source, f"refs/heads/{pull.head}", before, sha, sender)
    await branch_moved(world, source, pull.head, before, sha, sender)
    return True


async def branch_moved(
    world: World, repository: Repository, branch: str, before: str, after: str, sender: User
) -> None:
    """Let the open pull requests that have this branch as their head or base follow."""
    for pull in [one for one in world.pulls() if one.state == "open"]:
        if pull.head_repository is repository and pull.head == branch:
            if after == ZERO:
                closed(world, pull, sender)
            elif before != ZERO:
                await synchronized(world, pull, before, after, sender)
        elif pull.repository is repository and pull.base == branch and after != ZERO:
            if await repository.bare.is_ancestor(pull.head_sha, after):
                merged(world, pull, after, sender)
            else:
                await measure(pull)
