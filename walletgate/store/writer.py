"""One open transaction: rows and audit entries, collected as values and written together at its end.

Nothing is sent to the database while the gate decides and signs; what the transaction holds is a handful of
statements over many rows, which is what lets a hundred requests share one durable commit. A row that is added and
changed in the same transaction is written once, as it is at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from walletgate.audit.entry import Json, Kind, encode_entry
from walletgate.audit.merkle import extend, leaf_hash, pack_frontier
from walletgate.errors import InvariantViolation
from walletgate.limits import Movement, MovementState
from walletgate.store.authority import AuthorityWriter
from walletgate.store.records import (
    Freeze,
    Grant,
    Head,
    Operator,
    Outstanding,
    PolicyText,
    Request,
    Wallet,
)  # fmt: skip
from walletgate.store.rows import movement_row, request_row
from walletgate.store.tables import (
    AuditRow,
    CommandRow,
    GrantRow,
    MovementRow,
    OperatorRow,
    PrivateRow,
    RequestRow,
    Row,
    WalletRow,
)  # fmt: skip
from walletgate.types import Address, Hash32, Status

_MOVE = (
    "UPDATE request SET status = ?, outcome = ?, expires_ms = ?, moving = ?, updated_ms = ?, change = ?"
    " WHERE id = ? AND status = ? AND updated_ms = ?"
)
_SIGN = (
    "UPDATE request SET status = ?, outcome = ?, expires_ms = ?, moving = ?, updated_ms = ?, change = ?,"
    " nonce = ?, raw = ?, tx_hash = ?, signature = ?, payload = ?, decision = ?, policy = ?"
    " WHERE id = ? AND status = ? AND updated_ms = ?"
)
_SIGNED_FIELDS = ("nonce", "raw", "tx_hash", "signature", "payload", "decision", "policy")
_RESOLVE = "UPDATE movement SET state = ?, amount = ?, at_ms = ?, change = ? WHERE id = ? AND state = ?"
_NONCE = (
    "INSERT INTO nonce (wallet, chain_id, next) VALUES (?, ?, ?)"
    " ON CONFLICT (wallet, chain_id) DO UPDATE SET next = excluded.next"
)
_POLICY = "INSERT INTO policy (hash, name, text, added_ms) VALUES (?, ?, ?, ?) ON CONFLICT (hash) DO NOTHING"
_FREEZE = (
    'INSERT INTO "freeze" (scope, operator, reason, at_ms) VALUES (?, ?, ?, ?) ON CONFLICT (scope)'
    " DO UPDATE SET operator = excluded.operator, reason = excluded.reason, at_ms = excluded.at_ms"
)
_CHECKPOINT = "INSERT INTO checkpoint (size, note) VALUES (?, ?) ON CONFLICT (size) DO NOTHING"
_ALLOWANCE = (
    "INSERT INTO allowance (wallet, chain_id, asset, spender, amount, request, at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (wallet, chain_id, asset, spender)"
    " DO UPDATE SET amount = excluded.amount, request = excluded.request, at_ms = excluded.at_ms"
)
_LEASE = (
    "INSERT INTO lease (name, holder, until_ms) VALUES (?, ?, ?)"
    " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until_ms = excluded.until_ms"
)
_HEAD = "UPDATE log_head SET size = ?, frontier = ?, commits = ?, time_ms = ?, authority = ? WHERE id = 1"


@dataclass(frozen=True, slots=True)
class Insert:
    """New rows of one table, all columns in order."""

    table: type[Row]
    rows: Sequence[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Change:
    """One statement over many rows of values; `promise` is what is broken if it changes fewer."""

    sql: str
    rows: Sequence[tuple[Any, ...]]
    promise: str | None = None


class Writer:
    """What one transaction will write. `now_ms` is its time."""

    def __init__(self, origin: str, head: Head, now_ms: int) -> None:
        self._origin = origin
        self._head = head
        self.now_ms = max(now_ms, head.time_ms)
        self.change = head.commits + 1
        self._size = head.frontier.size
        self._entries: list[tuple[int, bytes, bytes]] = []
        self._inserts: dict[type[Row], list[tuple[Any, ...]]] = {}
        self._rules: list[Change] = []
        self._upserts: dict[str, list[tuple[Any, ...]]] = {}
        self._new_requests: dict[str, Request] = {}
        self._moved: dict[str, tuple[Request, Request]] = {}
        self._new_movements: dict[int, Movement] = {}
        self._resolved: dict[int, tuple[MovementState, Movement]] = {}
        self._nonces: dict[tuple[Address, int], int] = {}
        self._authority = False
        self.authority = AuthorityWriter(self._add, self._rule, self.now_ms)

    @property
    def is_empty(self) -> bool:
        """Nothing was collected."""
        return not (
            self._entries or self._inserts or self._rules or self._upserts or self._new_requests or self._moved
            or self._new_movements or self._resolved or self._nonces
        )  # fmt: skip

    @property
    def last_entry(self) -> tuple[int, bytes, bytes] | None:
        """(seq, leaf, entry) of the newest entry collected."""
        return self._entries[-1] if self._entries else None

    def statements(self) -> Iterator[Insert | Change]:
        """What is to be run, in this order, the head last."""
        for table, rows in self._inserts.items():
            yield Insert(table, rows)
        if self._new_requests:
            yield Insert(RequestRow, [request_row(r, self.change) for r in self._new_requests.values()])
        if self._new_movements:
            yield Insert(MovementRow, [movement_row(m, self.change) for m in self._new_movements.values()])
        yield from self._moves()
        if self._resolved:
            rows = [
                (m.state.value, _counting(m), m.at_ms, self.change, m.id, before.value)
                for before, m in self._resolved.values()
            ]
            yield Change(_RESOLVE, rows, "a reservation was resolved twice")
        yield from self._rules
        for sql, rows in self._upserts.items():
            yield Change(sql, rows)
        if self._nonces:
            yield Change(_NONCE, [(wallet, chain, n) for (wallet, chain), n in self._nonces.items()])
        if self._entries:
            yield Insert(AuditRow, self._entries)
        head = self.head()
        row = (head.frontier.size, pack_frontier(head.frontier), head.commits, head.time_ms, head.authority)
        yield Change(_HEAD, [row], "the log's head is gone")

    def head(self) -> Head:
        """Where the store will stand after this transaction."""
        frontier = extend(self._head.frontier, [Hash32(leaf) for _, leaf, _ in self._entries])
        authority = self.change if self._authority else self._head.authority
        return Head(frontier, self.change, self.now_ms, authority)

    # --- the log -------------------------------------------------------------------------------------

    def entry(self, kind: Kind, body: Mapping[str, Json]) -> int:
        """Appends an audit entry and returns its index."""
        seq = self._size
        head: dict[str, Json] = {"v": 1, "log": self._origin, "seq": seq, "ts_ms": self.now_ms, "kind": kind.value}
        encoded = encode_entry({**head, **body})
        self._entries.append((seq, leaf_hash(encoded), encoded))
        self._size = seq + 1
        return seq

    def add_checkpoint(self, size: int, note: str) -> None:
        """Keeps a signed note."""
        self._upsert(_CHECKPOINT, (size, note))

    # --- authority -----------------------------------------------------------------------------------

    def add_wallet(self, wallet: Wallet) -> None:
        """Records a new wallet."""
        self._add(WalletRow, astuple(wallet))

    def add_operator(self, operator: Operator) -> None:
        """Records a new operator."""
        o = operator
        self._add(OperatorRow, (o.name, o.address, o.added_ms, o.removed_ms, " ".join(o.roles)))

    def remove_operator(self, name: str) -> None:
        """Marks an operator as removed."""
        self._rule("UPDATE operator SET removed_ms = ? WHERE name = ?", (self.now_ms, name))

    def add_policy(self, policy: PolicyText) -> None:
        """Records a policy; the same meaning twice is one row."""
        self._rule(_POLICY, astuple(policy))

    def add_grant(self, grant: Grant) -> None:
        """Records a new grant."""
        self._add(GrantRow, astuple(grant))

    def revoke_grant(self, grant_id: str) -> None:
        """Ends a grant."""
        self._rule('UPDATE "grant" SET revoked_ms = ? WHERE id = ?', (self.now_ms, grant_id))

    def set_grant_policy(self, grant_id: str, policy: Hash32) -> None:
        """Puts a grant under another policy."""
        self._rule('UPDATE "grant" SET policy = ? WHERE id = ?', (policy, grant_id))

    def set_freeze(self, freeze: Freeze) -> None:
        """Puts a freeze in force."""
        self._rule(_FREEZE, astuple(freeze))

    def lift_freeze(self, scope: str) -> None:
        """Ends a freeze."""
        self._rule('DELETE FROM "freeze" WHERE scope = ?', (scope,))

    def add_command(self, nonce: bytes, operator: str, expires_ms: int) -> None:
        """Remembers an operator's command as carried out."""
        self._add(CommandRow, (nonce, operator, expires_ms))

    # --- requests ------------------------------------------------------------------------------------

    def add_request(self, request: Request) -> None:
        """Records a request in its first state."""
        self._new_requests[request.id] = request

    def move_request(self, before: Request, **changes: Any) -> Request:
        """Records a change of `before` and returns the request as it now is.

        Raises:
            InvariantViolation: here or at the end: the request is not, or no longer, as `before` says.
        """
        after = before.changed(updated_ms=self.now_ms, **changes)
        if before.id in self._new_requests:
            if self._new_requests[before.id] != before:
                raise InvariantViolation(f"request {before.id} moved on under its own writer")
            self._new_requests[before.id] = after
            return after
        first, known = self._moved.get(before.id, (before, before))
        if known != before:
            raise InvariantViolation(f"request {before.id} moved on under its own writer")
        self._moved[before.id] = (first, after)
        return after

    def _moves(self) -> Iterator[Change]:
        light, full = [], []
        for before, after in self._moved.values():
            status, guard = after.status.value, (before.id, before.status.value, before.updated_ms)
            common = (
                status, after.outcome, after.expires_ms, int(after.moving), after.updated_ms, self.change,
            )  # fmt: skip
            if all(getattr(before, name) == getattr(after, name) for name in _SIGNED_FIELDS):
                light.append((*common, *guard))
            else:
                full.append((*common, *(getattr(after, name) for name in _SIGNED_FIELDS), *guard))
        promise = "a request moved on under its own writer"
        if light:
            yield Change(_MOVE, light, promise)
        if full:
            yield Change(_SIGN, full, promise)

    def mark_broadcast(self, requests: Sequence[Request]) -> list[Request]:
        """Records that a node has these signed requests' bytes."""
        return [self.move_request(request, status=Status.BROADCAST, outcome=None) for request in requests]

    def add_private(self, request_id: str, field: str, salt: bytes, text: str) -> None:
        """Keeps a text that an entry only commits to."""
        self._inserts.setdefault(PrivateRow, []).append((request_id, field, salt, text))

    def erase_private(self, request_id: str) -> None:
        """Erases a request's private texts; in a SQLite file from its free pages, too."""
        self._rule("DELETE FROM private WHERE request = ?", (request_id,))

    # --- the ledger ----------------------------------------------------------------------------------

    def add_movements(self, movements: Iterable[Movement]) -> None:
        """Records new pending movements."""
        for movement in movements:
            self._new_movements[movement.id] = movement

    def resolve_movements(self, movements: Iterable[Movement]) -> None:
        """Records how pending movements ended.

        Raises:
            InvariantViolation: here or at the end: one of them was not pending any more.
        """
        self._settle(MovementState.PENDING, movements)

    def reopen_movements(self, before: Iterable[Movement], after: Iterable[Movement]) -> None:
        """Records that posted or voided movements are pending again.

        Raises:
            InvariantViolation: at the end: one of them was something else by then.
        """
        for old, new in zip(before, after, strict=True):
            self._settle(old.state, (new,))

    def _settle(self, expected: MovementState, movements: Iterable[Movement]) -> None:
        for movement in movements:
            new = self._new_movements.get(movement.id)
            if new is not None and new.state is expected:
                self._new_movements[movement.id] = movement
            elif new is not None or movement.id in self._resolved:
                raise InvariantViolation("a reservation was resolved twice")
            else:
                self._resolved[movement.id] = (expected, movement)

    def set_nonce(self, wallet: Address, chain_id: int, following: int) -> None:
        """Records the next nonce to use; the last word in a transaction counts."""
        self._nonces[wallet, chain_id] = following

    def set_outstanding(self, allowance: Outstanding) -> None:
        """Records what a spender may take from now on; 0 is an allowance that was taken back."""
        a = allowance
        row = (
            a.wallet, a.asset.chain_id, a.asset.address, a.spender, str(a.amount), a.request, a.at_ms,
        )  # fmt: skip
        self._upsert(_ALLOWANCE, row)

    def set_lease(self, name: str, holder: str, until_ms: int) -> None:
        """Gives a piece of work to one gate until a time."""
        self._upsert(_LEASE, (name, holder, until_ms))

    def _add(self, table: type[Row], row: tuple[Any, ...]) -> None:
        self._authority = True
        self._inserts.setdefault(table, []).append(row)

    def _rule(self, sql: str, row: tuple[Any, ...]) -> None:
        """In the order they came: a freeze that follows its own lifting must hold."""
        self._authority = True
        self._rules.append(Change(sql, [row]))

    def _upsert(self, sql: str, row: tuple[Any, ...]) -> None:
        self._upserts.setdefault(sql, []).append(row)


def _counting(movement: Movement) -> str:
    pending = movement.state is MovementState.PENDING
    return str(movement.booking.amount if pending else movement.spent)
