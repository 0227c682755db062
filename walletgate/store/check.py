"""Whether the ledger and the log tell the same story. The log is taken to be verified."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from walletgate.audit.entry import parse_entry
from walletgate.encoding import to_hex
from walletgate.store.store import Store
from walletgate.types import Address

_Account = tuple[Address, int]


def ledger_problems(store: Store) -> Iterator[str]:
    """What is wrong, a sentence each; nothing if all is well."""
    signed = [r for r in store.requests_since(0) if r.tx_hash is not None and r.nonce is not None]
    logged: Counter[str] = Counter()
    for _, _, entry in store.entries():
        if b'"transaction_signed"' in entry:
            logged[str(parse_entry(entry).get("tx"))] += 1
    known = {to_hex(request.tx_hash or b""): request.id for request in signed}
    yield from (f"{request} was signed, and no entry says so" for tx, request in known.items() if not logged[tx])
    yield from (f"{tx} is in the log as signed, and no request has it" for tx in logged if tx not in known)
    yield from (f"{tx} was signed {count} times by the log" for tx, count in logged.items() if count > 1)
    taken: dict[_Account, set[int]] = {}
    for request in signed:
        taken.setdefault((request.wallet, request.chain_id), set()).add(request.nonce or 0)
    yield from _nonce_problems(taken, store.nonces())
    moving = {request.id for request in store.moving_requests()}
    ended = {movement.request for movement in store.open_movements()} - moving
    yield from (f"{request} has ended, and something of it is still reserved" for request in sorted(ended))


def _nonce_problems(taken: Mapping[_Account, set[int]], following: Mapping[_Account, int]) -> Iterator[str]:
    for (wallet, chain), nonces in taken.items():
        missing = set(range(min(nonces), max(nonces) + 1)) - nonces
        if missing:
            yield f"wallet {to_hex(wallet)} on chain {chain} skipped nonce {min(missing)}"
        if following.get((wallet, chain), 0) <= max(nonces):
            yield f"wallet {to_hex(wallet)} on chain {chain} would use a nonce again"
