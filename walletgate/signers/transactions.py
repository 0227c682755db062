"""Unsigned and signed wire forms of transactions (EIP-155, EIP-2930, EIP-1559, EIP-7702) and of messages.

The preimage is what gets hashed and signed; `assemble` joins it with a signature. Both are checked byte for byte
against eth-account over random transactions of every type.
"""

from __future__ import annotations

from walletgate.encoding import Rlp, int_to_bytes, rlp_encode, rlp_items, rlp_list
from walletgate.errors import InvalidRequestError
from walletgate.signers.authorization import Signature
from walletgate.types import CodeAuthorization, Transaction, TransactionType


def transaction_preimage(transaction: Transaction, nonce: int) -> bytes:
    """The bytes whose keccak-256 is signed.

    Raises:
        InvalidRequestError: `transaction_type_unsupported` (blobs need a sidecar the gate does not carry).
    """
    fields = _fields(transaction, nonce)
    if transaction.type is TransactionType.LEGACY:
        return rlp_encode([*fields, int_to_bytes(transaction.chain_id), b"", b""])
    return bytes((transaction.type,)) + rlp_encode(fields)


def signed_transaction(transaction: Transaction, preimage: bytes, signature: Signature) -> bytes:
    """The raw transaction, ready to broadcast, from its preimage; its keccak-256 is the transaction hash.

    The fields stay the very bytes that were signed: only the list's head changes and the signature is appended
    (EIP-155 puts it in place of chain id, 0, 0).
    """
    r, s = rlp_encode(int_to_bytes(signature.r)), rlp_encode(int_to_bytes(signature.s))
    if transaction.type is TransactionType.LEGACY:
        placeholder = len(rlp_encode(int_to_bytes(transaction.chain_id))) + 2
        v = rlp_encode(int_to_bytes(signature.y_parity + 35 + 2 * transaction.chain_id))
        return rlp_list(rlp_items(preimage)[:-placeholder] + v + r + s)
    body = rlp_items(preimage[1:]) + rlp_encode(int_to_bytes(signature.y_parity)) + r + s
    return preimage[:1] + rlp_list(body)


def text_preimage(data: bytes) -> bytes:
    """EIP-191 version E: what `personal_sign` hashes."""
    return b"\x19Ethereum Signed Message:\n" + str(len(data)).encode() + data


def code_authorization_preimage(authorization: CodeAuthorization, nonce: int) -> bytes:
    """EIP-7702: 0x05 ‖ rlp([chain_id, address, nonce])."""
    return b"\x05" + rlp_encode([int_to_bytes(authorization.chain_id), authorization.address, int_to_bytes(nonce)])


def _fields(tx: Transaction, nonce: int) -> list[Rlp]:
    to = tx.to or b""
    call: list[Rlp] = [int_to_bytes(tx.gas), to, int_to_bytes(tx.value), tx.data]
    access: list[Rlp] = [[entry.address, list(entry.storage_keys)] for entry in tx.access_list]
    price = int_to_bytes(tx.max_fee_per_gas)
    prices = [int_to_bytes(tx.max_priority_fee_per_gas), price]
    head: list[Rlp] = [int_to_bytes(tx.chain_id), int_to_bytes(nonce)]
    match tx.type:
        case TransactionType.LEGACY:
            return [int_to_bytes(nonce), price, *call]
        case TransactionType.ACCESS_LIST:
            return [*head, price, *call, access]
        case TransactionType.FEE_MARKET:
            return [*head, *prices, *call, access]
        case TransactionType.SET_CODE:
            return [*head, *prices, *call, access, [_tuple(a) for a in tx.authorization_list]]
        case TransactionType.BLOB:
            raise InvalidRequestError("blob transactions are not supported", code="transaction_type_unsupported")


def _tuple(authorization: CodeAuthorization) -> Rlp:
    if authorization.signature is None or authorization.nonce is None:
        raise InvalidRequestError("an authorization tuple is not signed", code="authorization_unsigned")
    y_parity, r, s = authorization.signature
    return [
        int_to_bytes(authorization.chain_id),
        authorization.address,
        *(int_to_bytes(n) for n in (authorization.nonce, y_parity, r, s)),
    ]
