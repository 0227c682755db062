"""State that survives: the ledger, the log, and who may do what."""

from walletgate.store.place import Place
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
    News,
    Operator,
    Outstanding,
    PolicyText,
    Request,
    Version,
    Wallet,
)  # fmt: skip
from walletgate.store.schema import open_store, read_engine, read_store
from walletgate.store.store import Store
from walletgate.store.writer import Writer

__all__ = [
    "APPROVER",
    "AUDITOR",
    "POLICY_MAKER",
    "ROLES",
    "Approval",
    "Draft",
    "DraftVoice",
    "Freeze",
    "Grant",
    "News",
    "Operator",
    "Outstanding",
    "Place",
    "PolicyText",
    "Request",
    "Store",
    "Version",
    "Wallet",
    "Writer",
    "open_store",
    "read_engine",
    "read_store",
]
