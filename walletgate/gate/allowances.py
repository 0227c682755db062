"""Allowances that spenders still have: exposure that outlives the request it came from."""

from __future__ import annotations

from walletgate.gate.codec import stored_allowances
from walletgate.store import Outstanding, Request, Store, Writer
from walletgate.types import UINT256_MAX


def record_allowances(tx: Writer, request: Request, store: Store) -> None:
    """Records what a request that went through lets spenders take of its wallet from now on.

    What a spender has taken since is not subtracted: the record says how much it can be at most.
    """
    found = stored_allowances(request.decision)
    if not found:
        return
    known = {(a.asset, a.spender): a.amount for a in store.outstanding(request.wallet)}
    for allowance in found:
        if allowance.owner != request.wallet:
            continue
        key = (allowance.asset, allowance.spender)
        amount = allowance.amount + known.get(key, 0) if allowance.added else allowance.amount
        known[key] = min(amount, UINT256_MAX)
        tx.set_outstanding(Outstanding(request.wallet, *key, known[key], request.id, tx.now_ms))
