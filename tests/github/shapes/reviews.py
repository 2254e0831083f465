"""Reviews of pull requests, and releases."""

from tests.github.model import Json, Release, Review, node_id
from tests.github.shapes.accounts import account, association, stamp
from tests.github.shapes.repositories import api
from tests.github.world import World


def review(world: World, one: Review) -> Json:
    repository = one.pull.repository
    html = f"{world.url}/{repository.full_name}/pull/{one.pull.number}#pullrequestreview-{one.id}"
    url = f"{api(world, repository)}/pulls/{one.pull.number}"
    return {
        "id": one.id,
        "node_id": node_id("PullRequestReview", one.id),
        "user": account(world, one.user),
        "body": one.body,
        "state": one.state,
        "html_url": html,
        "pull_request_url": url,
        "_links": {"html": {"href": html}, "pull_request": {"href": url}},
        "submitted_at": stamp(one.submitted_at),
        "commit_id": one.sha,
        "author_association": association(repository, one.user),
    }


def release(world: World, one: Release) -> Json:
    base = f"{api(world, one.repository)}/releases/{one.id}"
    web, made = f"{world.url}/{one.repository.full_name}", stamp(one.created_at)
    return {
        "url": base,
        "html_url": f"{web}/releases/tag/{one.tag}",
        "assets_url": f"{base}/assets",
        "upload_url": f"{base}/assets{{?name,label}}",
        "tarball_url": f"{api(world, one.repository)}/tarball/{one.tag}",
        "zipball_url": f"{api(world, one.repository)}/zipball/{one.tag}",
        "id": one.id,
        "node_id": node_id("Release", one.id),
        "tag_name": one.tag,
        "target_commitish": one.target,
        "name": one.tag,
        "body": "",
        "draft": False,
        "immutable": False,
        "prerelease": one.prerelease,
        "created_at": made,
        "published_at": made,
        "updated_at": made,
        "author": account(world, one.author),
        "assets": [],
    }
