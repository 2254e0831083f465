"""Where a broker lies between: what is around requests and answers, inside the letters."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from workers.contract.messages import Answered, Request
from workers.contract.words import VERSION, Message


class Numbered(Message):
    """A request, whose number is greater than that of any before it: so one that was sent is never resent."""

    kind: Literal["numbered"] = "numbered"
    number: int = Field(gt=0, lt=2**63)
    request: Request


class Late(Message):
    """This number is not greater than the `last` one that was heard: ask again with one that is."""

    kind: Literal["late"] = "late"
    last: int


class Dismissed(Message):
    """The bot takes nothing from this worker any more; `reason` is for whoever runs it."""

    kind: Literal["dismissed"] = "dismissed"
    reason: str


class Stranger(BaseModel):
    """As much of a request as any version of the contract can read."""

    model_config = ConfigDict(frozen=True)

    version: int
    number: int = Field(gt=0, lt=2**63)

    @classmethod
    def read(cls, text: bytes) -> Stranger | None:
        """None for a request of our own version, or what is no request."""
        try:
            found = cls.model_validate_json(text)
        except ValidationError:
            return None
        return found if found.version != VERSION else None


class Foreign(BaseModel):
    """Dismissed, in the words of the version of whom it is said to."""

    version: int
    kind: Literal["dismissed"] = "dismissed"
    reason: str


Replied = Answered | Late | Dismissed
Reply = Annotated[Replied, Field(discriminator="kind")]

numbered: TypeAdapter[Numbered] = TypeAdapter(Numbered)
replies: TypeAdapter[Replied] = TypeAdapter(Reply)
