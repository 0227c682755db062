"""What it takes to get a signature: an `Authorization`, and who can make one.

A `Seal` is made once, when a signer is started, and handed to the gate that started it. Every authorization
carries it, and a signer refuses one with any other. Because Python has no private constructors, the seal, not
the class, is what cannot be forged: it is never written down, copied or pickled.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NoReturn, Protocol

from walletgate.encoding import keccak256
from walletgate.errors import InvariantViolation, SignerError
from walletgate.types import Address, Hash32


class PreimageKind(Enum):
    """What a preimage is, by the byte that starts it; the kinds cannot be taken for one another."""

    TRANSACTION = 1
    """EIP-2718 type 1-4 or an RLP list (legacy, EIP-155)."""
    TEXT = 2
    """0x19 'E', EIP-191 version E."""
    TYPED_DATA = 3
    """0x19 0x01, 66 bytes, EIP-712."""
    CODE_AUTHORIZATION = 4
    """0x05, EIP-7702."""


class Seal:
    """The gate's proof to its signer. Compared by identity; refuses to be copied or pickled."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise InvariantViolation("a seal cannot be pickled or copied")


@dataclass(frozen=True, slots=True)
class Authorization:
    """Leave to sign one preimage with one wallet's key, for one request, once."""

    seal: Seal
    request: str
    wallet: Address
    kind: PreimageKind
    preimage: bytes
    digest: Hash32


@dataclass(frozen=True, slots=True)
class Signature:
    """A recoverable secp256k1 signature with low s (EIP-2)."""

    r: int
    s: int
    y_parity: int

    def to_bytes(self) -> bytes:
        """65 bytes, r ‖ s ‖ v with v 27 or 28, as `personal_sign` and EIP-712 callers expect."""
        return self.r.to_bytes(32, "big") + self.s.to_bytes(32, "big") + bytes((27 + self.y_parity,))


class Signer(Protocol):
    """Holds keys; signs what the gate authorised, in the order given, all or nothing."""

    async def sign(self, authorizations: Sequence[Authorization]) -> list[Signature]:
        """One signature for each authorization.

        Raises:
            SignerError: `wallet_unknown`, `signer_failed`.
            InvariantViolation: a foreign seal, or a preimage that is not what it says.
        """

    async def wallets(self) -> frozenset[Address]:
        """The addresses it can sign for."""

    async def close(self) -> None:
        """Forgets the keys."""


def check_authorization(authorization: Authorization, seal: Seal) -> None:
    """Stops the gate unless the seal is this signer's own.

    Raises:
        InvariantViolation: the seal is another one.
    """
    if authorization.seal is not seal:
        raise InvariantViolation(f"request {authorization.request}: authorization under a foreign seal")


def check_preimage(kind: PreimageKind, preimage: bytes, digest: bytes) -> None:
    """Refuses to sign unless `preimage` is of its kind and hashes to `digest`.

    Raises:
        SignerError: `preimage_mismatch`.
    """
    match kind:
        case PreimageKind.TRANSACTION:
            fits = len(preimage) > 1 and (preimage[0] in (1, 2, 3, 4) or preimage[0] >= 0xC0)
        case PreimageKind.TEXT:
            fits = preimage.startswith(b"\x19Ethereum Signed Message:\n")
        case PreimageKind.TYPED_DATA:
            fits = preimage.startswith(b"\x19\x01") and len(preimage) == 66
        case PreimageKind.CODE_AUTHORIZATION:
            fits = preimage.startswith(b"\x05")
    if not fits or not hmac.compare_digest(keccak256(preimage), digest):
        raise SignerError("what was to be signed is not what was authorised", code="preimage_mismatch")
