"""A GitHub stand-in: real HTTP, real git, no network beyond this machine.

async with GitHub.running(tmp_path) as github:
    ada = github.user("ada")
    sample = await github.create_repository("acme/sample", {"Dockerfile": "FROM scratch"},
                                            collaborators={"ada": "write"})
    github.install_app(sample)
    github.app.hook_url = "http://127.0.0.1:8000/webhook"
    work = await sample.clone(tmp_path / "work", ada)
    sha = await work.commit({"hello.txt": "Hello"})
    await work.push()
    await github.settled()
"""

from tests.github.contract import Contract
from tests.github.faults import Fault
from tests.github.feed import (
    CommentCreated,
    CommentDeleted,
    CommentEdited,
    DeliverySent,
    DeploymentCreated,
    DeploymentStatusPosted,
    Happening,
    PullChanged,
    ReactionAdded,
    ReactionRemoved,
    StatusPosted,
    Subscription,
)
from tests.github.model import Permission, Repository, User
from tests.github.standin import GitHub
from tests.github.work import WorkTree

__all__ = [
    "CommentCreated",
    "CommentDeleted",
    "CommentEdited",
    "Contract",
    "DeliverySent",
    "DeploymentCreated",
    "DeploymentStatusPosted",
    "Fault",
    "GitHub",
    "Happening",
    "Permission",
    "PullChanged",
    "ReactionAdded",
    "ReactionRemoved",
    "Repository",
    "StatusPosted",
    "Subscription",
    "User",
    "WorkTree",
]
