"""Comments on pull requests, and reactions to them."""

from tests.github.access import Refusal
from tests.github.announce import comment_changed
from tests.github.api.issues import issue_of
from tests.github.api.repositories import REPO
from tests.github.api.routing import Answer, Call, Routes
from tests.github.feed import CommentCreated, CommentDeleted, CommentEdited, ReactionAdded, ReactionRemoved
from tests.github.model import REACTIONS, Comment, Issue, Pull, Reaction, User
from tests.github.shapes import pulls
from tests.github.world import World

routes = Routes()
ON_PULL = REPO + "/issues/{number}/comments"
ONE = REPO + "/issues/comments/{comment}"
EITHER = ("issues", "pull_requests")
# https://docs.github.com/rest/issues/comments: the answer above it is 422, "is too long".
LONGEST = 65536


def comment_of(call: Call) -> Comment:
    comment = call.world.comments.get(call.number("comment"))
    if comment is None or comment.repository is not call.repository:
        raise Refusal(404, "Not Found")
    return comment


def _body(call: Call) -> str:
    body = call.required("body", str)
    problem = None
    if not body.strip():
        problem = "Body can't be blank"
    elif len(body) > LONGEST:
        problem = f"Body is too long (maximum is {LONGEST} characters)"
    if problem:
        error = {"resource": "IssueComment", "code": "unprocessable", "field": "data", "message": problem}
        raise Refusal(422, "Validation Failed", [error])
    return body


def _may_speak(call: Call, issue: Pull | Issue) -> None:
    """Raises where the conversation is locked, as GitHub refuses it."""
    writer = call.repository.role(call.principal.actor) in ("write", "maintain", "admin")
    locked = isinstance(issue, Pull) and issue.locked
    if locked and not (writer and call.principal.kind == "user"):
        raise Refusal(403, "Unable to create comment because issue is locked.")


def _may_change(call: Call, comment: Comment) -> None:
    actor = call.principal.actor
    writer = call.repository.role(actor) in ("write", "maintain", "admin")
    if call.principal.kind == "user" and actor is not comment.user and not writer:
        raise Refusal(403, "Must have admin rights to Repository.")


@routes.on("GET", ON_PULL, *EITHER)
async def listing(call: Call) -> Answer:
    issue = issue_of(call)
    found = [
        comment
        for comment in call.world.comments.values()
        if comment.repository is call.repository and comment.number == issue.number
    ]
    return call.listing(found, pulls.comment)


@routes.on("POST", ON_PULL, *EITHER, role="read")
async def create(call: Call) -> Answer:
    world, issue, now = call.world, issue_of(call), call.world.now()
    _may_speak(call, issue)
    comment = Comment(
        id=next(world.ids),
        repository=call.repository,
        number=issue.number,
        user=call.principal.actor,
        body=_body(call),
        created_at=now,
        updated_at=now,
        by_app=call.principal.kind == "installation",
    )
    world.comments[comment.id] = comment
    comment_changed(world, comment, "created", comment.user)
    world.feed.publish(CommentCreated(comment))
    return Answer(pulls.comment(world, comment), 201)


@routes.on("GET", ONE, *EITHER)
async def one(call: Call) -> Answer:
    return Answer(pulls.comment(call.world, comment_of(call)))


@routes.on("PATCH", ONE, *EITHER, role="read")
async def edit(call: Call) -> Answer:
    comment = comment_of(call)
    _may_change(call, comment)
    if (pull := call.repository.pulls.get(comment.number)) is not None:
        _may_speak(call, pull)
    before, comment.body = comment.body, _body(call)
    comment.updated_at = call.world.now()
    comment_changed(call.world, comment, "edited", call.principal.actor, before)
    call.world.feed.publish(CommentEdited(comment, before))
    return Answer(pulls.comment(call.world, comment))


@routes.on("DELETE", ONE, *EITHER, role="read")
async def delete(call: Call) -> Answer:
    comment = comment_of(call)
    _may_change(call, comment)
    comment_changed(call.world, comment, "deleted", call.principal.actor)
    del call.world.comments[comment.id]
    call.world.feed.publish(CommentDeleted(comment))
    return Answer(status=204)


@routes.on("GET", ONE + "/reactions", *EITHER)
async def reactions(call: Call) -> Answer:
    comment, content = comment_of(call), call.query.get("content")
    found = [
        reaction
        for reaction in call.world.reactions.values()
        if reaction.comment_id == comment.id and content in (None, reaction.content)
    ]
    return call.listing(found, pulls.reaction)


@routes.on("POST", ONE + "/reactions", *EITHER, role="read")
async def react(call: Call) -> Answer:
    world, comment, user = call.world, comment_of(call), call.principal.actor
    content = call.required("content", str, values=REACTIONS)
    reaction, new = reacted(world, comment.id, user, content)
    return Answer(pulls.reaction(world, reaction), 201 if new else 200)


def reacted(world: World, comment_id: int, user: User, content: str) -> tuple[Reaction, bool]:
    """The one reaction of this content that `user` has, and whether it is new."""
    for old in world.reactions.values():
        if (old.comment_id, old.user, old.content) == (comment_id, user, content):
            return old, False
    reaction = Reaction(next(world.ids), comment_id, user, content, world.now())
    world.reactions[reaction.id] = reaction
    world.feed.publish(ReactionAdded(reaction))
    return reaction, True


@routes.on("DELETE", ONE + "/reactions/{reaction}", *EITHER, role="read")
async def take_back(call: Call) -> Answer:
    comment = comment_of(call)
    reaction = call.world.reactions.get(call.number("reaction"))
    if reaction is None or reaction.comment_id != comment.id:
        raise Refusal(404, "Not Found")
    if reaction.user is not call.principal.actor:
        raise Refusal(403, "Reactions are removed by those who made them")
    del call.world.reactions[reaction.id]
    call.world.feed.publish(ReactionRemoved(reaction))
    return Answer(status=204)
