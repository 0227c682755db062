"""What an operator's command is made of: who gives it, what it would change, how it is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from walletgate.audit.entry import Json
from walletgate.store import Writer
from walletgate.types import Hash32

if TYPE_CHECKING:
    from walletgate.gate.gate import Gate

NOTHING: Final = Hash32(bytes(32))
"""No policy."""

Body = Mapping[str, Any]
Answer = dict[str, Any]
Act = Callable[[Writer], Answer]


@dataclass(frozen=True, slots=True)
class By:
    """Whose command it is, and the draft by which others agreed to it."""

    operator: str
    draft: str | None = None

    @property
    def said(self) -> dict[str, Json]:
        """How entries say it."""
        return {"operator": self.operator} if self.draft is None else {"operator": self.operator, "draft": self.draft}


@dataclass(frozen=True, slots=True)
class Change:
    """What a command would change. `before` and `after` are policies, `about` the grant it is about."""

    loosens: bool
    lines: tuple[str, ...]
    about: str = ""
    before: Hash32 = NOTHING
    after: Hash32 = NOTHING


@dataclass(frozen=True, slots=True)
class Action:
    """One thing operators can command: who may, how it weighs (None: by comparing policies), how it is done."""

    roles: tuple[str, ...]
    weigh: Callable[[Gate, Body], Change] | None
    prepare: Callable[[Gate, By, Body], Act]
