"""What the gate keeps in memory: who may do what, the budgets, the nonces, and the requests that still move.

All of it can be rebuilt from the store at any moment; `load` is what happens at start and after a failed commit.
"""

from __future__ import annotations

from walletgate.encoding import to_hex
from walletgate.errors import AuthenticationError, ConflictError, InvariantViolation
from walletgate.gate.codec import stored_allowances
from walletgate.limits import LimitBook
from walletgate.policy import Policy, load
from walletgate.store import Freeze, Grant, News, Operator, Request, Store, Wallet
from walletgate.types import Address, Allowance, Asset, Hash32, Status

ELSEWHERE_MS = 10 * 60 * 1000
"""How long a gate remembers the ids of requests that others took, for its own requests that were on the way."""


class State:
    """The gate's memory. Changed only inside group commits."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.grants: dict[str, Grant] = {}
        self.grants_by_token: dict[Hash32, str] = {}
        self.wallets: dict[Address, Wallet] = {}
        self.operators: dict[str, Operator] = {}
        self.policies: dict[Hash32, Policy] = {}
        self.freezes: dict[str, Freeze] = {}
        self.nonces: dict[tuple[Address, int], int] = {}
        self.chain_counts: dict[tuple[Address, int], int] = {}
        self.requests: dict[str, Request] = {}
        self.ended: dict[str, Request] = {}
        self.waiting: dict[str, set[str]] = {}
        self.commands: set[bytes] = set()
        self.claimed: set[str] = set()
        self.allowances: dict[str, tuple[Allowance, ...]] = {}
        self.book = LimitBook(store.posted, store.posted_ever)
        self.elsewhere: dict[tuple[str, str], tuple[int, str]] = {}
        self.load()

    def load(self) -> None:
        """Reads everything again from the store."""
        store = self._store
        self.load_authority()
        self.claimed.clear()
        self.nonces = {**self.chain_counts, **store.nonces()}
        self.requests.clear()
        self.ended.clear()
        self.waiting.clear()
        self.allowances.clear()
        self.book = LimitBook(
            store.posted, store.posted_ever, first_id=store.next_movement_id(), open_movements=store.open_movements()
        )
        for request in store.moving_requests():
            self.keep(request)
            self.allowances[request.id] = stored_allowances(request.decision)

    def saved(self) -> None:
        """Everything that was changed here is in the store now."""
        self.book.saved()
        self.ended.clear()

    def absorb(self, news: News) -> None:
        """Takes in what other gates have committed."""
        if news.authority:
            self.load_authority()
        for key, following in news.nonces.items():
            self.nonces[key] = max(self.nonces.get(key, 0), following)
        self.book.absorb(news.movements)
        for request in news.requests:
            self.keep(request)
            if request.moving:
                self.allowances[request.id] = stored_allowances(request.decision)
            self.elsewhere[request.grant_id, request.client_id] = (news.time_ms, request.id)
        for taken, (at_ms, _) in list(self.elsewhere.items()):
            if at_ms > news.time_ms - ELSEWHERE_MS:
                break
            del self.elsewhere[taken]

    def load_authority(self) -> None:
        """Reads again who may do what."""
        store = self._store
        self.wallets = {wallet.address: wallet for wallet in store.wallets()}
        self.operators = {operator.name: operator for operator in store.operators()}
        for row in store.policies():
            if row.hash in self.policies:
                continue
            policy = load(row.text, source=f"policy {row.name}")
            if policy.hash != row.hash:
                raise InvariantViolation(f"stored policy {to_hex(row.hash)} reads as {to_hex(policy.hash)}")
            self.policies[row.hash] = policy
        self.grants.clear()
        self.grants_by_token.clear()
        for grant in store.grants():
            self.put_grant(grant)
        self.freezes = {freeze.scope: freeze for freeze in store.freezes()}
        self.commands = store.command_nonces(0)

    def count_on_chain(self, wallet: Address, chain_id: int, count: int) -> None:
        """Takes note of a wallet's nonce by the chain's own count; a key used elsewhere only moves it on."""
        key = (wallet, chain_id)
        self.chain_counts[key] = count
        self.nonces[key] = max(self.nonces.get(key, 0), count)

    def put_grant(self, grant: Grant) -> None:
        """Adds or replaces a grant."""
        self.grants[grant.id] = grant
        self.grants_by_token[grant.token_hash] = grant.id

    def keep(self, request: Request) -> Request:
        """Remembers a request as it now is for as long as it can still move, and returns it."""
        waits = self.waiting.setdefault(request.grant_id, set())
        (waits.add if request.status is Status.AWAITING_APPROVAL else waits.discard)(request.id)
        if not request.moving:
            self.allowances.pop(request.id, None)
            self.requests.pop(request.id, None)
            self.ended[request.id] = request
            return request
        self.requests[request.id] = request
        if request.nonce is not None and self.book.pending(request.id):
            self.book.take_slot(request.id, (request.wallet, request.chain_id, request.nonce))
        return request

    def pending_allowance(self, key: tuple[Asset, Address, Address], *, but: str = "") -> int:
        """What requests that still move would let a spender take, by asset, owner and spender."""
        return sum(
            allowance.amount
            for request, allowances in self.allowances.items()
            for allowance in allowances
            if request != but and (allowance.asset, allowance.owner, allowance.spender) == key
        )

    def claim(self, request: Request) -> None:
        """Makes the job that calls this the only one of its batch that may end the request's waiting.

        Raises:
            ConflictError: `request_moved`, it does not wait any more or another job was first.
        """
        current = self.requests.get(request.id)
        if current is None or current.status is not Status.AWAITING_APPROVAL or request.id in self.claimed:
            raise ConflictError("the request does not wait any more", code="request_moved")
        self.claimed.add(request.id)

    def check_live(self, grant_id: str, now_ms: int) -> Grant:
        """The grant, if it is in force at `now_ms`.

        Raises:
            AuthenticationError: `grant_revoked`, `grant_expired`.
        """
        grant = self.grants[grant_id]
        if grant.revoked_ms is not None:
            raise AuthenticationError("this grant was revoked by an operator", code="grant_revoked")
        if grant.expires_ms is not None and now_ms >= grant.expires_ms:
            raise AuthenticationError("this grant has expired", code="grant_expired")
        return grant

    def frozen_by(self, grant: Grant, *chain_ids: int) -> Freeze | None:
        """The widest freeze that stops `grant` on `chain_ids`, if any; 0 is every chain."""
        wallet = self.wallets.get(grant.wallet)
        scopes = ["all", f"grant:{grant.id}", f"agent:{grant.agent}"]
        if wallet is not None:
            scopes.insert(1, f"wallet:{wallet.name}")
        if self.freezes:
            scopes += [f"chain:{chain_id}" for chain_id in chain_ids]
            scopes += [scope for scope in self.freezes if 0 in chain_ids and scope.startswith("chain:")]
        return next((self.freezes[scope] for scope in scopes if scope in self.freezes), None)

    def operator_at(self, address: Address) -> Operator | None:
        """The operator who holds the key of `address`, unless removed."""
        return next((o for o in self.operators.values() if o.address == address and o.removed_ms is None), None)
