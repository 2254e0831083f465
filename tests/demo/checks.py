"""What must have been true, as a checklist."""

from __future__ import annotations

from dataclasses import dataclass

from tests.demo.story import BUILD, PREVIEW, PRODUCTION, Story, comment_parts
from tests.github import GitHub


@dataclass(frozen=True)
class Check:
    """A claim; `found` is what was there instead, empty if the claim holds."""

    claim: str
    found: str = ""


def of_the_story(story: Story | None, github: GitHub) -> list[Check]:
    """All that GitHub and a browser could see."""
    if story is None:
        return [Check("the developer could push", "it did not come to that")]
    seen = story.seen
    return [
        _deliveries(github),
        _check("production answered with the pushed commit's page", seen.production_answered),
        _status(story, seen.production_sha, BUILD),
        _status(story, seen.production_sha, PRODUCTION),
        _check("the preview answered with the pull request's page", seen.preview_answered),
        _status(story, seen.head_sha, BUILD),
        _status(story, seen.head_sha, PREVIEW),
        *(
            Check(f"the pull request's comment: {part}", "" if ok else _short(seen.comments))
            for part, ok in comment_parts(seen.comments, seen)
        ),
        _same("/redeploy got its reactions", story.reactions(), {"eyes", "rocket"}),
        _same("/redeploy's run succeeded", seen.second_run, "build succeeded, deploy succeeded"),
        _check("the preview was gone after the pull request was closed", seen.preview_gone),
        _same(
            "GitHub's deployments: production active, preview inactive",
            story.deployment_states(),
            {"production": "success", f"pr-{seen.number}": "inactive"},
        ),
    ]


def of_what_is_left(stop: str | None, engine: list[str], processes: list[str], folder: bool) -> list[Check]:
    """Nothing may be."""
    return [
        Check("`blacktree up` ended by itself after SIGTERM", stop or ""),
        Check("no process is left", ", ".join(processes)),
        *(
            Check(f"no {kind} is left", ", ".join(one for one in engine if one.startswith(kind)))
            for kind in ("container", "network", "volume", "image")
        ),
        *(Check("the engine is clean", one) for one in engine if one.startswith("the engine")),
        Check("the temporary folder is removed", "it is still there" if folder else ""),
    ]


def _deliveries(github: GitHub) -> Check:
    bad = [f"{one.event}: {one.status_code}" for one in github.deliveries if one.status_code != 202]
    found = ", ".join(bad) if github.deliveries else "there were none"
    return Check(f"all {len(github.deliveries)} deliveries were answered with 202", found)


def _status(story: Story, sha: str, context: str) -> Check:
    return _same(f"{context} of {sha[:7] or '(no commit)'} is success", story.state(sha, context), "success")


def _same(claim: str, found: object, wanted: object) -> Check:
    return Check(claim, "" if found == wanted else str(found or "nothing"))


def _check(claim: str, holds: bool) -> Check:
    return Check(claim, "" if holds else "it was not seen")


def _short(comments: list[str]) -> str:
    return f"{len(comments)} comments: {' '.join(' '.join(comments).split())[:300]}" if comments else "none"
