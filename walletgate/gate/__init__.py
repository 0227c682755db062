"""The one path of a request, and what operators may do."""

from walletgate.gate.ask import Ask, Session
from walletgate.gate.commands import (
    ApprovalWord,
    CommandWord,
    DraftWord,
    recover_operator,
    sign_word,
    typed_data,
    word_json,
)
from walletgate.gate.drafts import SignedDraft, word_on
from walletgate.gate.gate import Gate, Settings
from walletgate.gate.operate import Operations, SignedApproval, SignedCommand
from walletgate.gate.settle import Settlement

__all__ = [
    "ApprovalWord",
    "Ask",
    "CommandWord",
    "DraftWord",
    "Gate",
    "Operations",
    "Session",
    "Settings",
    "Settlement",
    "SignedApproval",
    "SignedCommand",
    "SignedDraft",
    "recover_operator",
    "sign_word",
    "typed_data",
    "word_json",
    "word_on",
]
