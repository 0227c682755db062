"""A JSON-RPC error on its way out; codes as in `server/node.py`."""

from __future__ import annotations


class RpcError(Exception):
    """A JSON-RPC error object on its way out."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data
