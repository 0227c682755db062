"""State that survives: the ledger, the log, and who may do what."""

from walletgate.store.records import Approval, Freeze, Grant, Operator, PolicyText, Request, Wallet
from walletgate.store.sqlite import OPEN_STATUSES, Store, Writer, read_only

__all__ = [
    "OPEN_STATUSES",
    "Approval",
    "Freeze",
    "Grant",
    "Operator",
    "PolicyText",
    "Request",
    "Store",
    "Wallet",
    "Writer",
    "read_only",
]
