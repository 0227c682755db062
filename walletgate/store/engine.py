"""What a database must do for the store. Statements are written with `?` for values, in the SQL both engines know."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from walletgate.store.writer import Change, Insert

Rows = list[tuple[Any, ...]]


class Engine(ABC):
    """One database, for one process. Reading never waits for writing; one transaction is open at a time."""

    shared: bool
    """Whether other gates may write to it, too."""

    @abstractmethod
    def rows(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """What is committed. Raises StoreError `store_unavailable`."""

    @abstractmethod
    def stream(self, sql: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """The same for answers that do not fit into memory."""

    @abstractmethod
    def total(self, column: str, source: str, values: Sequence[Any]) -> int:
        """The exact sum of a decimal text column; `source` is FROM and WHERE."""

    @abstractmethod
    async def begin(self) -> None:
        """Opens a transaction that nobody else can write beside. Raises StoreError `store_unavailable`."""

    @abstractmethod
    async def fetch(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """Reads inside the transaction."""

    @abstractmethod
    async def run(self, statements: Iterable[Insert | Change]) -> None:
        """Writes inside the transaction. Raises InvariantViolation where a change broke its promise."""

    @abstractmethod
    async def commit(self) -> None:
        """Makes it durable. Raises StoreError `commit_uncertain` when it is not known whether it is."""

    @abstractmethod
    async def rollback(self) -> None:
        """Undoes everything since `begin`; never fails."""

    @abstractmethod
    async def close(self) -> None:
        """Lets go of the database."""

    @abstractmethod
    def close_now(self) -> None:
        """The same where no event loop runs and nothing was written."""
