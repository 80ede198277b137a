"""The port to what the database keeps of assessments: which conversation is a result's, what was told.

Sans-I/O. Ids are canonical UUIDs. Methods raise `StoreUnavailable` as those of the conversation store do;
those named `system_*` act for the house.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from server.conversations.audit import BY_HOUSE, Caller
from server.conversations.store import ConversationRow, GenerationRow
from server.notifications.stages import Notice


@dataclass(frozen=True, slots=True)
class AssessmentOrder:
    """The conversation of a result, to be there.

    `plan` is that of its welcome, `None` where there shall be none; `request` is kept with the welcome's
    generation. `ready` is told once the conversation waits for its user. `again`: where it was deleted there
    shall be another one.
    """

    user_id: str
    result_id: str
    title: str
    context_data: dict[str, Any]
    metadata: dict[str, Any]
    ready: Notice
    plan: dict[str, Any] | None
    request: dict[str, Any]
    again: bool
    caller: Caller


@dataclass(frozen=True, slots=True)
class AssessmentConversation:
    """The conversation of a result, and the generation of its welcome, if there is one.

    `created`: it is new. `begun`: the welcome was accepted by this call, and is the caller's to begin.
    """

    conversation: ConversationRow
    welcome: GenerationRow | None
    created: bool = False
    begun: bool = False


@dataclass(frozen=True, slots=True)
class DueLink:
    """A result whose conversation the archive is to be told; `conversation` is `None` where it is deleted."""

    user_id: str
    result_id: str
    conversation: str | None
    tries: int


class AssessmentStore(Protocol):
    """Assessments in the database."""

    async def begin(self, order: AssessmentOrder) -> AssessmentConversation:
        """The conversation of a result: the one there is, or a new one; one row guarantees that.

        An existing one is given a welcome too, where nothing was said in it yet.

        Raises:
            NotFound: `user` for one who was erased, `conversation` where it was deleted and `again` is off.
        """
        ...

    async def find(self, user_id: str, result_id: str) -> AssessmentConversation | None:
        """The conversation of a user's result; `None` where there is none, or it was deleted."""
        ...

    async def tell(self, user_id: str, assessment: str, notice: Notice, *, caller: Caller = BY_HOUSE) -> bool:
        """Tell a stage, once; `False`: it was told before.

        Raises:
            NotFound: `user`, for one who was erased.
        """
        ...

    async def system_due_links(self, *, limit: int) -> list[DueLink]:
        """Claim what the archive is to be told; each claim moves the next try away, for about a day."""
        ...

    async def system_linked(self, link: DueLink) -> None:
        """The archive knows."""
        ...
