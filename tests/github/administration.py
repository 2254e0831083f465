"""What owners do: the App's installations, a repository's name and life, the protection of branches."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from tests.github import announce, manifest
from tests.github.faults import Fault
from tests.github.model import Installation, Json, Protection, Repository, User
from tests.github.world import World

ALWAYS = 10**9


class Administration:
    """With `sender` GitHub tells its hooks; without, it is how the world was before anybody looked."""

    world: World

    def install_app(
        self,
        *repositories: Repository,
        permissions: Mapping[str, str] | None = None,
        sender: User | None = None,
    ) -> int:
        """The id of the installation of the App in the account that owns these repositories."""
        world, owner = self.world, repositories[0].owner
        found = next((one for one in world.installations.values() if one.account is owner), None)
        installation = found or Installation(next(world.ids), owner, dict(world.app.permissions), world.now())
        world.installations[installation.id] = installation
        added = [one for one in repositories if one.id not in installation.repositories]
        installation.repositories |= {repository.id for repository in repositories}
        if permissions is not None:
            installation.permissions = {"metadata": "read", **permissions}
        if sender and found is None:
            announce.installation_changed(world, installation, "created", sender)
        elif sender and added:
            announce.installation_reached(world, installation, sender, added, [])
        return installation.id

    def remove_from_installation(self, *repositories: Repository, sender: User | None = None) -> None:
        world, installation = self.world, self.world.installation_of(repositories[0])
        assert installation, "the App is not installed there"
        installation.repositories -= {repository.id for repository in repositories}
        if sender:
            announce.installation_reached(world, installation, sender, [], list(repositories))

    def uninstall_app(self, installation_id: int, sender: User | None = None) -> None:
        installation = self.world.installations.pop(installation_id)
        if sender:
            announce.installation_changed(self.world, installation, "deleted", sender)

    def suspend_app(self, installation_id: int, sender: User | None = None) -> None:
        """Its tokens are refused, no new ones are given, and no events come, until it is let in again."""
        installation = self.world.installations[installation_id]
        installation.suspended_at = self.world.now()
        if sender:
            announce.installation_changed(self.world, installation, "suspend", sender)

    def unsuspend_app(self, installation_id: int, sender: User | None = None) -> None:
        installation = self.world.installations[installation_id]
        installation.suspended_at = None
        if sender:
            announce.installation_changed(self.world, installation, "unsuspend", sender)

    def rename(self, repository: Repository, full_name: str, sender: User | None = None) -> None:
        """The old name is answered with redirects from now on. A new owner makes it a transfer.

        A transferred repository leaves the installation of its old owner, once that has been told.
        """
        before, owner = repository.name, repository.owner
        self.world.rename(repository, full_name)
        if not sender:
            return
        if repository.owner is not owner:
            kind = "organization" if owner.kind == "Organization" else "user"
            changes: Json = {"owner": {"from": {kind: announce.owner(self.world, owner)}}}
            announce.repository_changed(self.world, repository, "transferred", sender, changes)
            old = self.world.installation_of(repository)
            if old and old.account is owner:
                self.remove_from_installation(repository, sender=sender)
        if repository.name != before:
            changes = {"repository": {"name": {"from": before}}}
            announce.repository_changed(self.world, repository, "renamed", sender, changes)

    def archive(self, repository: Repository, sender: User, archived: bool = True) -> None:
        """An archived repository can only be read."""
        repository.archived = archived
        action = "archived" if archived else "unarchived"
        announce.repository_changed(self.world, repository, action, sender)

    def delete_repository(self, repository: Repository, sender: User) -> None:
        """Pull requests that came from it stay, with no head repository."""
        world = self.world
        announce.repository_changed(world, repository, "deleted", sender)
        installation = world.installation_of(repository)
        if installation:
            self.remove_from_installation(repository, sender=sender)
        del world.repositories[repository.id]
        for pull in world.pulls():
            if pull.head_repository is repository:
                pull.head_repository = None

    def protect(
        self,
        repository: Repository,
        branch: str,
        required_checks: Iterable[str] = (),
        reviews: int = 0,
        *,
        strict: bool = False,
        ruleset: bool = False,
    ) -> None:
        """`strict`: a head must be up to date. `ruleset`: by a rule set instead of branch protection."""
        repository.protections[branch] = Protection(tuple(required_checks), reviews, strict, ruleset)

    def unprotect(self, repository: Repository, branch: str) -> None:
        del repository.protections[branch]

    async def manifest_code(self, wish: Json, organization: str | None = None) -> str:
        """The code that GitHub's form gives after the click; that App is the stand-in's from now on."""
        wrong = manifest.problems(wish)
        if wrong:
            raise ValueError(" ".join(wrong))
        owner = self.world.account(organization, "Organization") if organization else None
        return await manifest.register(self.world, wish, owner or self.world.account("app-owner"))

    @contextmanager
    def down(self, *, status: int = 503, drop: bool = False) -> Iterator[Fault]:
        """Inside the block every API and git request fails; `hits` of what is yielded counts them."""
        unicorn = Fault.html("", status=status, times=ALWAYS)
        outage = Fault(status=status, times=ALWAYS, drop=True) if drop else unicorn
        self.world.faults.outages.append(outage)
        try:
            yield outage
        finally:
            self.world.faults.outages.remove(outage)
