"""Drafts: commands that would loosen something, and wait for the quorum.

An operator's command that loosens becomes a draft when more than one policy-maker must agree. It holds the command's
payload, what it would change in words, and the policies before and after. Others sign exactly that: `DraftWord` names
the draft, the payload, the digest of the words, both policies and an expiry. With the last signature that the quorum
needs it is carried out in the same transaction. One no ends it; so does its expiry, and so does any other change of
what it is about, because what people read would no longer be what happens.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from walletgate.audit.entry import Kind
from walletgate.encoding import keccak256, printable, to_hex
from walletgate.errors import ApprovalError, ConflictError
from walletgate.gate.commands import DraftWord
from walletgate.store import POLICY_MAKER, Draft, DraftVoice, Operator, Writer
from walletgate.types import Hash32

if TYPE_CHECKING:
    from walletgate.gate.gate import Gate

LIFETIME_MS: Final = 7 * 24 * 3600 * 1000
"""How long a draft waits."""

OPEN_MAX: Final = 100
"""Drafts that may wait at the same time."""


_LINES_IN_ENTRY: Final = 12


@dataclass(frozen=True, slots=True)
class SignedDraft:
    """An operator's word on a draft, with a reason for the log."""

    word: DraftWord
    signature: bytes
    reason: str = ""


def draft_id() -> str:
    """A new draft's name."""
    return f"draft_{secrets.token_hex(6)}"


def payload_of(draft: Draft) -> Hash32:
    """What words on a draft name its payload by."""
    return Hash32(keccak256(draft.body.encode()))


def summary_of(draft: Draft) -> Hash32:
    """What words on a draft name its lines by."""
    return Hash32(keccak256("\n".join(draft.lines).encode()))


def word_on(draft: Draft, *, approve: bool, expires: int) -> DraftWord:
    """The word that agrees to (or rejects) exactly this draft until `expires` (Unix seconds)."""
    return DraftWord(
        draft.id, approve, draft.action, payload_of(draft), summary_of(draft), draft.before, draft.after, expires
    )


def open_draft(gate: Gate, name: str) -> Draft:
    """A draft that still waits.

    Raises:
        ConflictError: `draft_moved`, there is none, or it has ended.
    """
    draft = gate.store.authority.draft(name)
    if draft is None or draft.status != "open" or gate.now_ms() >= draft.expires_ms:
        raise ConflictError("there is no such draft that waits", code="draft_moved")
    grant = gate.state.grants.get(draft.about)
    if grant is not None and (grant.policy != draft.before or grant.revoked_ms is not None):
        raise ConflictError("what the draft is about has changed: propose it again", code="draft_stale")
    return draft


def check_word(signed: SignedDraft, draft: Draft, operator: Operator, *, now_ms: int) -> None:
    """That the word is about exactly this draft, in time, and from a policy-maker.

    Raises:
        ApprovalError: `role_missing`, `draft_mismatch`, `approval_expired`.
    """
    if not operator.has(POLICY_MAKER):
        raise ApprovalError(f"{operator.name} is not a policy-maker", code="role_missing")
    word = signed.word
    if word != word_on(draft, approve=word.approve, expires=word.expires):
        raise ApprovalError("the word is about another draft, or another text of it", code="draft_mismatch")
    if not now_ms < word.expires * 1000:
        raise ApprovalError("the word has expired", code="approval_expired")


def voices_for(gate: Gate, draft: Draft) -> set[str]:
    """Policy-makers of now who have agreed to a draft."""
    makers = {each.name for each in gate.state.operators.values() if each.has(POLICY_MAKER)}
    return {voice.operator for voice in gate.store.authority.draft_voices(draft.id) if voice.approved} & makers


def propose(tx: Writer, draft: Draft, signature: bytes) -> None:
    """Records a new draft and its proposer's voice."""
    tx.authority.add_draft(draft)
    tx.authority.add_draft_voice(DraftVoice(draft.id, draft.proposer, True, signature, "", tx.now_ms))
    tx.entry(
        Kind.DRAFT_PROPOSED,
        {
            "draft": draft.id, "action": draft.action, "payload": to_hex(payload_of(draft)),
            "summary": to_hex(summary_of(draft)), "before": to_hex(draft.before), "after": to_hex(draft.after),
            "expires_ms": draft.expires_ms, "operator": draft.proposer,
            "lines": [printable(line, length_max=200) for line in draft.lines[:_LINES_IN_ENTRY]],
        },
    )  # fmt: skip


def end_draft(tx: Writer, draft: Draft, status: str, why: str) -> None:
    """Records how an open draft ended; one that has ended already is left as it is."""
    if tx.authority.end_draft(draft.id, status):
        tx.entry(Kind.DRAFT_ENDED, {"draft": draft.id, "status": status, "why": why})


def end_drafts_about(gate: Gate, tx: Writer, about: str, *, but: str | None) -> None:
    """Drafts about a grant that has just changed are about something else by now."""
    for draft in gate.store.authority.drafts(status="open", limit=OPEN_MAX):
        if draft.about == about and draft.id != but:
            end_draft(tx, draft, "stale", "changed")


def sweep(gate: Gate, tx: Writer) -> None:
    """Ends drafts that nobody completed in time."""
    for draft in gate.store.authority.drafts(status="open", limit=OPEN_MAX):
        if tx.now_ms >= draft.expires_ms:
            end_draft(tx, draft, "expired", "expired")
