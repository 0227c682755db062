"""What exactly gets hashed and signed for each kind of payload."""

from __future__ import annotations

from walletgate.effects.typed import TypedDataError, parse
from walletgate.errors import InvalidRequestError, InvariantViolation
from walletgate.signers import PreimageKind
from walletgate.signers.transactions import code_authorization_preimage, text_preimage, transaction_preimage
from walletgate.types import Batch, CodeAuthorization, Payload, RawHash, TextMessage, Transaction, TypedData


def preimage_of(payload: Payload, nonce: int | None) -> tuple[PreimageKind, bytes]:
    """The kind and the bytes whose keccak-256 is signed.

    Raises:
        InvalidRequestError: `not_signable`, the payload has no preimage (a batch, a bare hash).
    """
    match payload:
        case Transaction():
            if nonce is None:
                raise InvariantViolation("a transaction is signed with a nonce")
            return PreimageKind.TRANSACTION, transaction_preimage(payload, nonce)
        case TextMessage():
            return PreimageKind.TEXT, text_preimage(payload.data)
        case TypedData():
            return PreimageKind.TYPED_DATA, typed_data_preimage(payload)
        case CodeAuthorization():
            if payload.nonce is None:
                raise InvalidRequestError("an authorization tuple needs a nonce", code="not_signable")
            return PreimageKind.CODE_AUTHORIZATION, code_authorization_preimage(payload, payload.nonce)
        case Batch() | RawHash():
            raise InvalidRequestError("this kind of request cannot be signed as one", code="not_signable")


def typed_data_preimage(payload: TypedData) -> bytes:
    """0x19 0x01 ‖ domain separator ‖ struct hash (EIP-712), from the same strict reading that was judged.

    Raises:
        InvalidRequestError: `typed_data_invalid`.
    """
    try:
        return parse(payload.document).preimage
    except TypedDataError as error:
        raise InvalidRequestError(f"the typed data cannot be hashed: {error}", code="typed_data_invalid") from None
