"""What follows from a push: the refs before and after it become events."""

from tests.github.announce import pushed, ref_made
from tests.github.bare import ZERO
from tests.github.model import Repository, User
from tests.github.pulling import branch_moved
from tests.github.world import World

# https://docs.github.com/webhooks/webhook-events-and-payloads#push
TAGS_WITH_EVENTS = 3


async def received(
    world: World, repository: Repository, before: dict[str, str], after: dict[str, str], sender: User
) -> None:
    moved = sorted(ref for ref in before.keys() | after.keys() if before.get(ref) != after.get(ref))
    tags = [ref for ref in moved if ref.startswith("refs/tags/")]
    silent = set(tags) if len(tags) > TAGS_WITH_EVENTS else set()
    if moved:
        repository.pushed_at = world.now()
    for ref in moved:
        if ref in silent or not ref.startswith(("refs/heads/", "refs/tags/")):
            continue
        old, new = before.get(ref, ZERO), after.get(ref, ZERO)
        if ZERO in (old, new):
            ref_made(world, repository, ref, sender, deleted=new == ZERO)
        await pushed(world, repository, ref, old, new, sender)
        if ref.startswith("refs/heads/"):
            branch = ref.removeprefix("refs/heads/")
            await branch_moved(world, repository, branch, old, new, sender)
