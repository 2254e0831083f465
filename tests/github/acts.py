"""What people, other apps and GitHub itself do, beyond what the REST API lets them: by one call each."""

from typing import Literal

from tests.github import announce
from tests.github.api.comments import reacted
from tests.github.bare import ZERO
from tests.github.model import (
    CheckRun,
    Pull,
    Reaction,
    Release,
    Repository,
    Review,
    User,
)
from tests.github.pulling import branch_moved
from tests.github.world import World


class Acts:
    """Each sends the events that it has on GitHub."""

    world: World

    def review(
        self,
        repository: Repository,
        number: int,
        user: User,
        state: Literal["APPROVED", "CHANGES_REQUESTED", "COMMENTED", "DISMISSED"] = "APPROVED",
        sha: str | None = None,
        body: str = "",
    ) -> Review:
        """A review of the commit `sha`, by default the head."""
        pull, now = repository.pulls[number], self.world.now()
        review = Review(next(self.world.ids), pull, user, state, sha or pull.head_sha, body, now)
        self.world.reviews[review.id] = review
        announce.reviewed(self.world, review)
        return review

    def check_run(
        self,
        repository: Repository,
        sha: str,
        name: str,
        conclusion: str | None = "success",
        *,
        apart: bool = False,
    ) -> CheckRun:
        """A CI's check of a commit; without `conclusion` it is in progress. A second one is a new run.

        `apart`: in a suite of its own, as what a pull request begins beside a push.
        """
        world, now = self.world, self.world.now()
        of = [one for one in world.check_runs.values() if (one.repository, one.sha) == (repository, sha)]
        runs = [] if apart else [one for one in of if not one.app]
        suite = runs[0].suite if runs else next(world.ids)
        ended = now if conclusion else None
        run = CheckRun(next(world.ids), repository, sha, name, conclusion, suite, now, ended)
        world.check_runs[run.id] = run
        action = "completed" if conclusion else "created"
        announce.check_run_changed(world, run, action, _branch(repository, sha), world.account("ci-owner"))
        return run

    async def rerequest_check(
        self,
        repository: Repository,
        sha: str,
        kind: Literal["suite", "run"] = "suite",
        *,
        user: User | None = None,
        name: str = "blacktree",
    ) -> None:
        """The click on "Re-run": of all of a commit's checks, or of the one of that name."""
        world, sender, branch = self.world, user or repository.owner, _branch(repository, sha)
        if kind == "suite":
            await announce.check_suite_rerequested(world, repository, sha, branch, sender)
            return
        runs = [one for one in world.check_runs.values() if (one.sha, one.name) == (sha, name)]
        run = runs[-1] if runs else self.check_run(repository, sha, name, "failure")
        announce.check_run_changed(world, run, "rerequested", branch, sender)

    def request_action(self, run: CheckRun, identifier: str, user: User) -> None:
        """The click on a button of a check run."""
        announce.check_run_action(self.world, run, identifier, _branch(run.repository, run.sha), user)

    def react(self, repository: Repository, comment_id: int, user: User, content: str) -> Reaction:
        """A reaction to a comment; the one that is there already is returned."""
        assert self.world.comments[comment_id].repository is repository
        return reacted(self.world, comment_id, user, content)[0]

    def label_pull(self, repository: Repository, number: int, user: User, name: str) -> None:
        pull = repository.pulls[number]
        if name not in pull.labels:
            pull.labels.append(name)
            self._labelled(pull, "labeled", user, name)

    def unlabel_pull(self, repository: Repository, number: int, user: User, name: str) -> None:
        pull = repository.pulls[number]
        pull.labels.remove(name)
        self._labelled(pull, "unlabeled", user, name)

    def _labelled(self, pull: Pull, action: str, user: User, name: str) -> None:
        pull.updated_at = self.world.now()
        announce.pull_labelled(self.world, pull, action, user, name)

    def lock_pull(self, repository: Repository, number: int, user: User) -> None:
        """Lock its conversation: only who may write comments on it, and no App does."""
        pull = repository.pulls[number]
        pull.locked, pull.updated_at = True, self.world.now()
        announce.pull_changed(self.world, pull, "locked", user)

    def ready_for_review(self, repository: Repository, number: int, user: User) -> None:
        self._draft(repository.pulls[number], "ready_for_review", user, draft=False)

    def convert_to_draft(self, repository: Repository, number: int, user: User) -> None:
        self._draft(repository.pulls[number], "converted_to_draft", user, draft=True)

    def _draft(self, pull: Pull, action: str, user: User, *, draft: bool) -> None:
        pull.draft, pull.updated_at = draft, self.world.now()
        announce.pull_changed(self.world, pull, action, user)

    async def merge_group(
        self, repository: Repository, base: str, head_sha: str, *, number: int = 1, user: User | None = None
    ) -> str:
        """The merge queue wants its checks for `head_sha` on `base`; returns its temporary branch's ref.

        `head_sha` must be in the repository: a branch's head, or a merge that was made by hand.
        """
        base_sha = await repository.head(base)
        if base_sha is None:
            raise ValueError(f"{repository.full_name} has no branch {base}")
        sender = user or repository.owner
        ref = f"refs/heads/gh-readonly-queue/{base}/pr-{number}-{base_sha}"
        await repository.bare.update_ref(ref, head_sha)
        announce.ref_made(self.world, repository, ref, sender)
        await announce.pushed(self.world, repository, ref, ZERO, head_sha, sender)
        world = self.world
        await announce.merge_group_requested(world, repository, base, base_sha, ref, head_sha, sender)
        return ref

    async def release(
        self,
        repository: Repository,
        tag: str,
        user: User | None = None,
        *,
        prerelease: bool = False,
    ) -> Release:
        """A published release; a tag that is missing is made at the head of the default branch."""
        world, author, bare = self.world, user or repository.owner, repository.bare
        ref, head = f"refs/tags/{tag}", await repository.head()
        if head and not await bare.refs(ref):
            await bare.update_ref(ref, head)
            announce.ref_made(world, repository, ref, author)
            await announce.pushed(world, repository, ref, ZERO, head, author)
        branch = repository.default_branch
        release = Release(next(world.ids), repository, tag, branch, author, prerelease, world.now())
        world.releases[release.id] = release
        for action in ("published", "created", "prereleased" if prerelease else "released"):
            announce.released(world, release, action)
        return release

    async def move_branch(
        self, repository: Repository, branch: str, sha: str | None, user: User | None = None
    ) -> None:
        """Point a branch at a commit on the server, with all that follows; None deletes it."""
        world, sender, ref = self.world, user or repository.owner, f"refs/heads/{branch}"
        before = await repository.head(branch) or ZERO
        await repository.bare.update_ref(ref, sha)
        after = sha or ZERO
        if ZERO in (before, after):
            announce.ref_made(world, repository, ref, sender, deleted=sha is None)
        await announce.pushed(world, repository, ref, before, after, sender)
        await branch_moved(world, repository, branch, before, after, sender)


def _branch(repository: Repository, sha: str) -> str | None:
    """The head branch of the pull request whose head this commit is."""
    return next((pull.head for pull in repository.pulls.values() if pull.head_sha == sha), None)
