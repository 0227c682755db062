"""What keeps operators from being worn down: how often a grant may ask, and what it may not ask again.

A person who is asked a hundred times says yes to the hundred-and-first. A policy's `[asking]` bounds how many requests
a grant may put before operators in a window, keeps a request that one of them rejected from coming back unchanged, and
freezes a grant that goes on asking beyond any measure. *Unchanged* is the same effects, whatever the fees: a price per
gas that moved makes nothing new.

What was asked and rejected is in the store; what was refused here, which only counts towards the freeze, is kept in
memory, so that a restart forgets attempts but never questions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from walletgate.encoding import keccak256
from walletgate.gate.codec import canonical, effect_json
from walletgate.gate.standstill import put_freeze
from walletgate.policy import Policy
from walletgate.policy.model import AskingTerms
from walletgate.store import Freeze, Grant, Request, Store, Writer
from walletgate.types import Effect, Hash32, Reason, Status

if TYPE_CHECKING:
    from walletgate.gate.gate import Gate

_WHY: Final = "asked operators too often"
BY_POLICY: Final = "the policy"
"""Who froze a grant that asked too much; no operator can be called so."""


def alike(effects: Iterable[Mapping[str, Any]]) -> Hash32:
    """What two requests have in common that would do the same, by their effects as JSON."""
    return Hash32(keccak256(canonical([effect for effect in effects if effect["effect"] != "Fee"])))


@dataclass(slots=True)
class _Asked:
    """What one grant has asked: moments, and when something alike was rejected last."""

    at_ms: list[int] = field(default_factory=list)
    attempts_ms: list[int] = field(default_factory=list)
    rejected_ms: dict[bytes, int] = field(default_factory=dict)


def _flood(terms: AskingTerms, asked: _Asked, now_ms: int) -> Reason | None:
    """Counts one more attempt; the reason to freeze once there are too many, which begins the count anew."""
    asked.attempts_ms.append(now_ms)
    for window_ms, most in terms.freeze_after:
        count = sum(at_ms > now_ms - window_ms for at_ms in asked.attempts_ms)
        if count > most:
            asked.attempts_ms.clear()
            text = "this grant has asked operators far too often and is frozen"
            return Reason("asking_flooded", text, "asking", count, most, "requests")
    return None


class Asking:
    """What grants have asked of operators."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[Hash32, _Asked]] = {}
        self._flooded: set[str] = set()

    def reasons(self, gate: Gate, grant: Grant, policy: Policy, effects: Iterable[Effect]) -> list[Reason]:
        """What stands against asking operators about `effects` now; when nothing does, it is counted as asked."""
        terms, now_ms = policy.terms.asking, gate.now_ms()
        if not terms.bounds_anything:
            return []
        asked = self._asked(policy, grant, now_ms)
        flood = _flood(terms, asked, now_ms)
        if flood is not None:
            scope = f"grant:{grant.id}"
            gate.state.freezes[scope] = Freeze(scope, BY_POLICY, _WHY, now_ms)
            self._flooded.add(grant.id)
            return [flood]
        same = alike(map(effect_json, effects)) if terms.again_after_ms is not None else Hash32(b"")
        rejected_ms = asked.rejected_ms.get(same)
        if rejected_ms is not None and terms.again_after_ms is not None:
            since_s, wait_s = (now_ms - rejected_ms) // 1000, terms.again_after_ms // 1000
            if now_ms < rejected_ms + terms.again_after_ms:
                text = "an operator rejected the same request not long ago"
                return [Reason("rejected_before", text, "asking", since_s, wait_s, "s")]
        for window_ms, most in terms.windows:
            count = 1 + sum(at_ms > now_ms - window_ms for at_ms in asked.at_ms)
            if count > most:
                text = "this grant has asked operators too often"
                return [Reason("asked_too_often", text, "asking", count, most, "requests")]
        asked.at_ms.append(now_ms)
        return []

    def record(self, gate: Gate, tx: Writer, request: Request, effects: Iterable[Effect]) -> None:
        """Writes what `reasons` decided, in the transaction of the request."""
        if request.status is Status.AWAITING_APPROVAL:
            tx.authority.add_asked(request.id, request.grant_id, alike(map(effect_json, effects)))
        elif request.grant_id in self._flooded:
            self._flooded.discard(request.grant_id)
            put_freeze(gate, tx, f"grant:{request.grant_id}", {"operator": BY_POLICY}, _WHY)

    def reject(self, tx: Writer, request: Request, effects: Iterable[Mapping[str, Any]]) -> None:
        """Remembers that an operator said no."""
        tx.authority.mark_rejected(request.id)
        if request.grant_id in self._known:
            self._known[request.grant_id][1].rejected_ms[alike(effects)] = tx.now_ms

    def forget(self) -> None:
        """Reads again from the store what was asked: memory is not what it says, or another gate has asked, too."""
        self._known.clear()
        self._flooded.clear()

    def _asked(self, policy: Policy, grant: Grant, now_ms: int) -> _Asked:
        """What is known of a grant, as far back as its policy looks."""
        terms = policy.terms.asking
        spans = [window_ms for window_ms, _ in (*terms.windows, *terms.freeze_after)]
        start_ms = now_ms - max([*spans, terms.again_after_ms or 0])
        read_for, found = self._known.get(grant.id, (None, _Asked()))
        if read_for != policy.hash:
            found = _Asked()
            self._known[grant.id] = (policy.hash, found)
            for at_ms, same, rejected_ms in self._store.authority.asked_since(grant.id, start_ms):
                found.at_ms.append(at_ms)
                if rejected_ms is not None:
                    found.rejected_ms[same] = max(rejected_ms, found.rejected_ms.get(same, 0))
            found.attempts_ms = list(found.at_ms)
        found.at_ms = [at_ms for at_ms in found.at_ms if at_ms > start_ms]
        found.attempts_ms = [at_ms for at_ms in found.attempts_ms if at_ms > start_ms]
        return found
