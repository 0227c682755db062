"""An eth-account `LocalAccount` without a key: whatever takes an account takes this, and the gate signs.

    account = walletgate.account("trader")
    account.sign_typed_data(full_message=order)        # SignedMessage, as from a key
    account.send({"to": "0x…", "value": 10**15})       # the gate fills in, signs and broadcasts; the hash

A subclass, because web3's signing middleware and several frameworks ask for that very class. Every inherited method
that would need a key is overridden; there is no key to fall back to. Where an operator has to decide for longer than
the account's `wait_s`, `ApprovalPending` is raised, and its `wait()` returns what the call would have returned.

The gate judges contents. So what is only a hash cannot be signed here: `unsafe_sign_hash` and EIP-712 hashes dressed
up as messages are refused with the method that does it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

import rlp  # type: ignore[import-untyped]
from eth_abi.exceptions import EncodingError
from eth_account.datastructures import SignedMessage, SignedSetCodeAuthorization, SignedTransaction
from eth_account.messages import SignableMessage, encode_typed_data
from eth_account.signers.local import LocalAccount
from eth_keys.datatypes import Signature
from eth_typing import ChecksumAddress
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError
from hexbytes import HexBytes

from walletgate.agent.answers import Limits, Object, PolicyView, Preview, Request, invalid
from walletgate.agent.client import Client, Expect, Kind, Threads
from walletgate.agent.errors import ApprovalPending, NoPrivateKeyError, make
from walletgate.agent.pay import plan_payment
from walletgate.agent.payload import transaction, typed_data
from walletgate.errors import InvalidRequestError

T = TypeVar("T")

_PREFIX = b"thereum Signed Message:\n"


class GateAccount(LocalAccount):
    """The account of one grant."""

    def __init__(self, client: Client, *, name: str) -> None:
        """`name` is for people. Asks nothing yet: the address is learned when it is first needed."""
        self.client = client
        self.name = name
        self._known: ChecksumAddress | None = None
        self.threads = Threads()

    # --- what it is ---

    @property
    def address(self) -> ChecksumAddress:
        """The wallet's address; asks the gate once."""
        if self._known is None:
            self._known = to_checksum_address(self.limits().wallet)
        return self._known

    @property
    def key(self) -> NoReturn:
        """There is none."""
        raise make(NoPrivateKeyError, "this account has no private key: it is in the gate")

    def __bytes__(self) -> NoReturn:
        raise make(NoPrivateKeyError, "this account has no private key: it is in the gate")

    def __repr__(self) -> str:
        return f"GateAccount({self.name!r})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a GateAccount cannot be copied or pickled: call walletgate.account() where it is needed")

    def encrypt(self, *_args: object, **_kwargs: object) -> NoReturn:
        """Refused: there is no key to encrypt."""
        raise make(NoPrivateKeyError, "this account has no private key: it is in the gate")

    # --- asking the gate ---

    def send(
        self,
        fields: Mapping[str, Any],
        *,
        expect: Expect | None = None,
        memo: str | None = None,
        id: str | None = None,  # noqa: A002 - the API's word
        wait_s: float | None = None,
    ) -> HexBytes:
        """Sends a transaction and returns its hash. What is left out (gas, fees, nonce) the gate fills in.

        Raises:
            GateDenied, ApprovalRejected, ApprovalPending: the gate's word.
            GateUnavailable: no answer; with the same `id` it is safe to send again.
        """
        payload = transaction(fields)
        return self._ask("transaction", payload, _hash, id=id, expect=expect, memo=memo, wait_s=wait_s)

    def pay(self, to: str, amount: str, *, chain: str | int | None = None, **options: Any) -> HexBytes:
        """Pays in words and returns the transaction's hash: `pay("acme", "5 USDC", memo="invoice 17")`.

        Raises:
            As `Client.pay`.
        """
        plan = plan_payment(self.client.policy(), to, amount, chain)
        return self.send(plan.payload, expect=plan.expect, **options)

    def policy(self) -> PolicyView:
        """What the policy calls assets and addresses by, and all of it in words."""
        return self.client.policy()

    def request(self, kind: Kind, payload: Object, **options: Any) -> Request:
        """Any request of the agent API; options as in `Client.request`."""
        return self.client.request(kind, payload, **options)

    def preview(
        self, fields: Mapping[str, Any], *, kind: Kind = "transaction", expect: Expect | None = None
    ) -> Preview:
        """What the gate would decide now, and the effects it sees; nothing is booked or signed."""
        is_transaction = kind in ("transaction", "sign_transaction")
        return self.client.preview(kind, transaction(fields) if is_transaction else fields, expect=expect)

    def limits(self) -> Limits:
        """The grant's policy and what is left of each limit."""
        return self.client.limits()

    # --- eth-account's methods ---

    def sign_transaction(self, transaction_dict: Mapping[str, Any], blobs: object = None) -> SignedTransaction:
        """Signs without sending, where the policy permits that.

        Raises:
            As `send`; InvalidRequestError: `blobs_not_supported`.
        """
        if blobs is not None:
            raise make(InvalidRequestError, "the gate does not sign blobs", code="blobs_not_supported")
        return self._ask("sign_transaction", transaction(transaction_dict), _signed_transaction)

    def sign_message(self, signable_message: SignableMessage) -> SignedMessage:
        """Signs text or bytes (EIP-191, `personal_sign`).

        Raises:
            As `send`; InvalidRequestError: `hash_refused` for other kinds of messages.
        """
        version, header, body = signable_message
        if version != b"E" or header != _PREFIX + str(len(body)).encode():
            raise make(
                InvalidRequestError,
                "the gate signs what it can read: for EIP-712 call sign_typed_data with the whole message",
                code="hash_refused",
            )
        digest = keccak(b"\x19" + version + header + body)
        return self._ask("message", {"data": "0x" + body.hex()}, _signed_message(digest))

    def sign_typed_data(
        self,
        domain_data: Mapping[str, Any] | None = None,
        message_types: Mapping[str, Any] | None = None,
        message_data: Mapping[str, Any] | None = None,
        full_message: Mapping[str, Any] | None = None,
    ) -> SignedMessage:
        """Signs EIP-712 data.

        Raises:
            As `send`; InvalidRequestError: `bad_typed_data`.
        """
        payload = typed_data(domain_data, message_types, message_data, full_message)
        try:
            version, header, body = encode_typed_data(full_message=payload)
        except (ValueError, TypeError, KeyError, AttributeError, EncodingError, ValidationError) as error:
            raise make(InvalidRequestError, f"not EIP-712 data: {error}", code="bad_typed_data") from error
        return self._ask("typed_data", payload, _signed_message(keccak(b"\x19" + version + header + body)))

    def sign_authorization(  # type: ignore[override]  # eth-account returns this, too, and says otherwise
        self, authorization: Mapping[str, Any]
    ) -> SignedSetCodeAuthorization:
        """Signs a delegation to code (EIP-7702), where the policy names it.

        Raises:
            As `send`.
        """
        payload = transaction(authorization)
        return self._ask("authorization", payload, _signed_authorization(payload))

    def unsafe_sign_hash(self, message_hash: object) -> NoReturn:
        """Refused: nobody can judge a hash."""
        del message_hash
        raise make(
            InvalidRequestError,
            "the gate signs what it can read: use sign_transaction, sign_typed_data or sign_message",
            code="hash_refused",
        )

    # --- the same, awaited ---

    async def async_send(self, fields: Mapping[str, Any], **options: Any) -> HexBytes:
        """As `send`."""
        return await self.threads.run(self.send, fields, **options)

    async def async_pay(self, to: str, amount: str, **options: Any) -> HexBytes:
        """As `pay`."""
        return await self.threads.run(self.pay, to, amount, **options)

    async def async_policy(self) -> PolicyView:
        """As `policy`."""
        return await self.threads.run(self.policy)

    async def async_request(self, kind: Kind, payload: Object, **options: Any) -> Request:
        """As `request`."""
        return await self.threads.run(self.request, kind, payload, **options)

    async def async_preview(self, fields: Mapping[str, Any], **options: Any) -> Preview:
        """As `preview`."""
        return await self.threads.run(self.preview, fields, **options)

    async def async_limits(self) -> Limits:
        """As `limits`."""
        return await self.threads.run(self.limits)

    async def async_sign_transaction(self, transaction_dict: Mapping[str, Any]) -> SignedTransaction:
        """As `sign_transaction`."""
        return await self.threads.run(self.sign_transaction, transaction_dict)

    async def async_sign_message(self, signable_message: SignableMessage) -> SignedMessage:
        """As `sign_message`."""
        return await self.threads.run(self.sign_message, signable_message)

    async def async_sign_typed_data(self, *args: Any, **kwargs: Any) -> SignedMessage:
        """As `sign_typed_data`."""
        return await self.threads.run(self.sign_typed_data, *args, **kwargs)

    async def async_sign_authorization(self, authorization: Mapping[str, Any]) -> SignedSetCodeAuthorization:
        """As `sign_authorization`."""
        return await self.threads.run(self.sign_authorization, authorization)

    def _ask(self, kind: Kind, payload: Object, convert: Callable[[Request], T], **options: Any) -> T:
        def finish(request: Request) -> T:
            if request.wallet.lower() != self.address.lower():
                raise invalid("it is about another wallet")
            return convert(request)

        try:
            return finish(self.client.request(kind, payload, **options))
        except ApprovalPending as pending:
            pending.returning(finish)
            raise


def _hash(request: Request) -> HexBytes:
    if request.tx_hash is None:
        raise invalid("tx_hash")
    return HexBytes(request.tx_hash)


def _signed_transaction(request: Request) -> SignedTransaction:
    raw = _bytes(request.raw, "raw")
    try:
        # EIP-2718: a first byte below 0x80 is the type, what follows is a list; v, r and s come last in every type.
        fields = rlp.decode(raw[1:] if raw[:1] < b"\x80" else raw)
        v, r, s = (int.from_bytes(field, "big") for field in fields[-3:])
    except (rlp.DecodingError, ValueError, TypeError):
        raise invalid("raw") from None
    return SignedTransaction(HexBytes(raw), HexBytes(keccak(raw)), r, s, v)


def _signed_message(digest: bytes) -> Callable[[Request], SignedMessage]:
    def convert(request: Request) -> SignedMessage:
        r, s, parity = _signature(request)
        v = parity + 27
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes((v,))
        return SignedMessage(HexBytes(digest), r, s, v, HexBytes(signature))

    return convert


def _signed_authorization(terms: Object) -> Callable[[Request], SignedSetCodeAuthorization]:
    def convert(request: Request) -> SignedSetCodeAuthorization:
        r, s, parity = _signature(request)
        chain_id, target = int(str(terms["chainId"]), 16), _bytes(str(terms["address"]), "address")
        nonce = int(str(terms["nonce"]), 16) if "nonce" in terms else request.nonce
        if nonce is None:
            raise invalid("nonce")
        digest = keccak(b"\x05" + rlp.encode([chain_id, target, nonce]))
        return SignedSetCodeAuthorization(
            chain_id=chain_id,
            address=target,
            nonce=nonce,
            y_parity=parity,
            r=r,
            s=s,
            signature=Signature(vrs=(parity, r, s)),
            authorization_hash=HexBytes(digest),
        )

    return convert


def _signature(request: Request) -> tuple[int, int, int]:
    """r, s and the parity (0 or 1)."""
    signature = _bytes(request.signature, "signature")
    parity = {0: 0, 1: 1, 27: 0, 28: 1}.get(signature[-1]) if len(signature) == 65 else None
    if parity is None:
        raise invalid("signature")
    return int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big"), parity


def _bytes(text: str | None, name: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("0x")) if text else b""
    except ValueError:
        raise invalid(name) from None
