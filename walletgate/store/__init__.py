"""State that survives: the ledger, the log, and who may do what."""

from walletgate.store.place import Place
from walletgate.store.records import (
    Approval,
    Freeze,
    Grant,
    News,
    Operator,
    Outstanding,
    PolicyText,
    Request,
    Wallet,
)  # fmt: skip
from walletgate.store.schema import open_store, read_engine, read_store
from walletgate.store.store import Store
from walletgate.store.writer import Writer

__all__ = [
    "Approval",
    "Freeze",
    "Grant",
    "News",
    "Operator",
    "Outstanding",
    "Place",
    "PolicyText",
    "Request",
    "Store",
    "Wallet",
    "Writer",
    "open_store",
    "read_engine",
    "read_store",
]
