"""State that survives: the ledger, the log, and who may do what."""

from walletgate.store.records import (
    APPROVER,
    AUDITOR,
    POLICY_MAKER,
    ROLES,
    Approval,
    Draft,
    DraftVoice,
    Freeze,
    Grant,
    Operator,
    PolicyText,
    Request,
    Version,
    Wallet,
)
from walletgate.store.sqlite import OPEN_STATUSES, Store, Writer, read_only

__all__ = [
    "APPROVER",
    "AUDITOR",
    "OPEN_STATUSES",
    "POLICY_MAKER",
    "ROLES",
    "Approval",
    "Draft",
    "DraftVoice",
    "Freeze",
    "Grant",
    "Operator",
    "PolicyText",
    "Request",
    "Store",
    "Version",
    "Wallet",
    "Writer",
    "read_only",
]
