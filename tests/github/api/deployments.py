"""Deployments, their statuses, and the environments that follow from them."""

from urllib.parse import urlsplit

from tests.github.access import Refusal
from tests.github.announce import deployment_made, deployment_moved
from tests.github.api.repositories import REPO
from tests.github.api.routing import Answer, Call, Routes
from tests.github.api.statuses import newest
from tests.github.feed import DeploymentCreated, DeploymentStatusPosted
from tests.github.model import Deployment, DeploymentStatus, Json
from tests.github.shapes import reports
from tests.github.world import World

routes = Routes()
ALL = REPO + "/deployments"
ONE = ALL + "/{deployment}"
STATES = ("error", "failure", "inactive", "in_progress", "queued", "pending", "success")
LONGEST_DESCRIPTION = 140


def _invalid(field: str, message: str) -> Refusal:
    error = {"resource": "Deployment", "code": "custom", "field": field, "message": message}
    return Refusal(422, "Validation Failed", [error])


def deployment_of(call: Call) -> Deployment:
    deployment = call.world.deployments.get(call.number("deployment"))
    if deployment is None or deployment.repository is not call.repository:
        raise Refusal(404, "Not Found")
    return deployment


@routes.on("GET", ALL, "deployments")
async def listing(call: Call) -> Answer:
    filters = {key: call.query[key] for key in ("sha", "ref", "task", "environment") if key in call.query}
    found = [
        one
        for one in reversed(call.world.deployments.values())
        if one.repository is call.repository
        and all(getattr(one, key) == wanted for key, wanted in filters.items() if wanted != "none")
    ]
    return call.listing(found, reports.deployment)


@routes.on("POST", ALL, "deployments")
async def create(call: Call) -> Answer:
    world, ref = call.world, call.required("ref", str)
    sha = await call.repository.bare.resolve(ref)
    if sha is None:
        raise Refusal(422, f"No ref found for: {ref}")
    environment = call.field("environment", str, "production")
    _hold_back(call, sha)
    payload: Json | str = call.fields.get("payload") or {}
    deployment = Deployment(
        id=next(world.ids),
        repository=call.repository,
        sha=sha,
        ref=ref,
        task=call.field("task", str, "deploy"),
        environment=environment,
        description=call.field("description", str, "") or None,
        payload=payload,
        transient=call.field("transient_environment", bool, False),
        production=call.field("production_environment", bool, environment == "production"),
        auto_merge=call.field("auto_merge", bool, True),
        creator=call.principal.actor,
        created_at=world.now(),
        by_app=call.principal.kind == "installation",
    )
    world.deployments[deployment.id] = deployment
    world.feed.publish(DeploymentCreated(deployment))
    deployment_made(world, deployment)
    return Answer(reports.deployment(world, deployment), 201)


def _hold_back(call: Call, sha: str) -> None:
    """A conflict unless the required contexts, by default all there are, have succeeded."""
    states = {one.context.casefold(): one.state for one in newest(call.world, call.repository, sha)}
    wanted: list[str] = call.field("required_contexts", list, list(states))
    if any(states.get(str(context).casefold()) != "success" for context in wanted):
        raise Refusal(409, f"Conflict: Commit status checks failed for {call.fields['ref']}.")


@routes.on("GET", ONE, "deployments")
async def one(call: Call) -> Answer:
    return Answer(reports.deployment(call.world, deployment_of(call)))


@routes.on("DELETE", ONE, "deployments")
async def delete(call: Call) -> Answer:
    deployment = deployment_of(call)
    if deployment.state not in (None, "inactive", "error", "failure"):
        raise Refusal(422, "We cannot delete an active deployment unless it is the only deployment")
    del call.world.deployments[deployment.id]
    return Answer(status=204)


@routes.on("GET", ONE + "/statuses", "deployments")
async def statuses(call: Call) -> Answer:
    deployment = deployment_of(call)
    return call.listing(
        deployment.statuses[::-1], lambda world, each: reports.deployment_status(world, deployment, each)
    )


@routes.on("POST", ONE + "/statuses", "deployments")
async def create_status(call: Call) -> Answer:
    world, deployment = call.world, deployment_of(call)
    state = call.required("state", str, values=STATES)
    description = call.field("description", str, "")
    if len(description) > LONGEST_DESCRIPTION:
        raise _invalid("description", f"is too long (maximum is {LONGEST_DESCRIPTION} characters)")
    status = DeploymentStatus(
        id=next(world.ids),
        deployment_id=deployment.id,
        state=state,
        description=description,
        environment=call.field("environment", str, deployment.environment),
        log_url=_url(call, "log_url") or _url(call, "target_url"),
        environment_url=_url(call, "environment_url"),
        creator=call.principal.actor,
        created_at=world.now(),
    )
    _post(world, deployment, status)
    if state == "success" and call.field("auto_inactive", bool, True):
        _retire_others(world, deployment, status)
    return Answer(reports.deployment_status(world, deployment, status), 201)


def _url(call: Call, name: str) -> str:
    url = call.field(name, str, "")
    if url and urlsplit(url).scheme not in ("http", "https"):
        raise _invalid(name, "must use http(s) scheme")
    return url


def _post(world: World, deployment: Deployment, status: DeploymentStatus) -> None:
    deployment.statuses.append(status)
    world.feed.publish(DeploymentStatusPosted(deployment, status))
    deployment_moved(world, deployment, status)


def _retire_others(world: World, deployment: Deployment, status: DeploymentStatus) -> None:
    """`inactive` for the earlier successes in the same environment, if neither transient nor production."""
    for other in list(world.deployments.values()):
        same_place = (other.repository, other.environment) == (deployment.repository, deployment.environment)
        spared = other.transient or other.production or other.id >= deployment.id
        if same_place and not spared and other.state == "success":
            inactive = DeploymentStatus(
                id=next(world.ids),
                deployment_id=other.id,
                state="inactive",
                description="",
                environment=other.environment,
                log_url="",
                environment_url="",
                creator=status.creator,
                created_at=status.created_at,
            )
            _post(world, other, inactive)


@routes.on("GET", REPO + "/environments", "environments", "deployments")
async def environments(call: Call) -> Answer:
    first: dict[str, Deployment] = {}
    for one in call.world.deployments.values():
        if one.repository is call.repository:
            first.setdefault(one.environment, one)
    shown, headers = call.page(list(first.items()))
    shapes = [reports.environment(call.world, call.repository, *each) for each in shown]
    return Answer({"total_count": len(first), "environments": shapes}, headers=headers)
