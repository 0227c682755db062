"""Every way WalletGate says no or says broken, in one tree with stable codes.

    WalletGateError                .code · .detail · .retryable · .data
    ├─ InvalidRequestError         malformed, ambiguous, not canonical, wrong chain
    ├─ AuthenticationError         unknown, expired or revoked credential
    ├─ PolicyDeniedError           the policy said no; every reason is in .data
    ├─ ApprovalError               a person said no, nobody answered, or the approval is not valid
    ├─ ConflictError               same id with another body, or a state that moved on
    ├─ GatePausedError             frozen by an operator, or too busy to promise an answer
    ├─ ChainError                  the node is away, lies, or refused; *uncertain* is a code of its own
    ├─ SignerError                 keystore, passphrase, or a signer that did not answer
    ├─ AuditError                  the log does not prove what it claims
    ├─ StoreError                  the database is locked, foreign, or behind its own checkpoint
    └─ ConfigError                 policy or configuration file: names file and key path

`InvariantViolation` is not in the tree: it is a bug in the gate, is never caught, and stops it.

Codes are promises: programs match on them, so they change only with an entry in the changelog.
"No" and "broken" are different types, because retrying one is useless and retrying the other is right.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

Detail = Mapping[str, "str | int | bool | list[object] | dict[str, object] | None"]


class InvariantViolation(Exception):  # noqa: N818 - not an error that anybody handles
    """A promise of the gate itself is broken. Stops the process; never caught, never an answer."""


class WalletGateError(Exception):
    """Base of every error WalletGate raises on purpose.

    `code` is stable snake_case, `detail` is one sentence safe to show to anybody who asked,
    `data` carries the numbers and names behind the sentence, `retryable` says whether the same
    call may succeed later.
    """

    default_code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str, *, code: str | None = None, data: Detail | None = None) -> None:
        super().__init__(detail)
        self.code = code or self.default_code
        self.detail = detail
        self.data: Detail = MappingProxyType(dict(data or {}))

    def __str__(self) -> str:
        return f"{self.detail} [{self.code}]"


class InvalidRequestError(WalletGateError):
    """What came in is malformed, ambiguous, not canonical, or for another chain or wallet."""

    default_code = "invalid_request"


class AuthenticationError(WalletGateError):
    """The credential is unknown, expired, revoked, or of the wrong kind for this endpoint."""

    default_code = "unauthenticated"


class PolicyDeniedError(WalletGateError):
    """The policy refused the request. `data["reasons"]` holds each reason with its numbers."""

    default_code = "policy_denied"


class ApprovalError(WalletGateError):
    """An operator rejected, nobody answered in time, or an approval does not fit its request."""

    default_code = "approval_invalid"


class ConflictError(WalletGateError):
    """The same id with another body, or an act on something that has moved on."""

    default_code = "conflict"


class GatePausedError(WalletGateError):
    """The gate is frozen for this grant, wallet or altogether, or its queue is full."""

    default_code = "frozen"
    retryable = True


class ChainError(WalletGateError):
    """The node cannot be reached, answers nonsense, or refused what it was sent."""

    default_code = "chain_unavailable"
    retryable = True


class SignerError(WalletGateError):
    """A key cannot be opened or a signer did not answer as it must."""

    default_code = "signer_failed"


class AuditError(WalletGateError):
    """The audit log does not verify. `data["index"]` is the first bad entry when one is known."""

    default_code = "log_tampered"


class StoreError(WalletGateError):
    """The database is locked by another gate, of another schema, or older than its checkpoint."""

    default_code = "store_failed"


class ConfigError(WalletGateError):
    """A policy or configuration file is wrong. `data` has `file` and the dotted `key` path."""

    default_code = "config_invalid"
