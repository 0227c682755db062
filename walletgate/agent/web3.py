"""A Web3 that sends and signs through the gate, while reads go on to its own provider. Sync and async, web3 7 and 8.

The middleware sits innermost, next to the provider, so that everything web3 does to a request has been done and nothing
of what needs a key ever reaches the provider. A transaction without a chain is asked for on the chain that the
provider says it is on, because the agent's view of the world must be that of the request it makes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from web3.middleware import Web3Middleware

from walletgate.agent.account import GateAccount
from walletgate.agent.errors import make
from walletgate.agent.payload import document, transaction
from walletgate.errors import InvalidRequestError

if TYPE_CHECKING:
    from web3 import AsyncWeb3, Web3
    from web3.types import AsyncMakeRequestFn, MakeRequestFn, RPCEndpoint, RPCResponse

NAME: Final = "walletgate"
"""The middleware's name in the onion."""

_SENDING: Final = frozenset(("eth_sendTransaction", "eth_signTransaction", "wallet_sendTransaction"))
_TYPED: Final = frozenset(("eth_signTypedData", "eth_signTypedData_v3", "eth_signTypedData_v4"))
_SERVED: Final = _SENDING | _TYPED | {"eth_accounts", "eth_requestAccounts", "eth_sign", "personal_sign"}


def attach_account(w3: Web3 | AsyncWeb3[Any], account: GateAccount) -> None:
    """Puts `account` into `w3`: the middleware, the default account, and the `default_local_account` of toolkits."""
    onion: Any = w3.middleware_onion
    if NAME in onion:
        onion.remove(NAME)
    onion.inject(_builder(account), name=NAME, layer=0)
    w3.eth.default_account = account.address
    w3.eth.default_local_account = account  # type: ignore[union-attr]  # not web3's own, but read by toolkits


def _builder(account: GateAccount) -> Callable[[Any], Web3Middleware]:
    """What web3 calls to make the middleware; kept by name, since web3 hashes what it is given."""

    def build(w3: Any) -> GateMiddleware:
        return GateMiddleware(w3, account)

    return build


class GateMiddleware(Web3Middleware):
    """Answers what needs a key from the gate."""

    def __init__(self, w3: Web3 | AsyncWeb3[Any], account: GateAccount) -> None:
        super().__init__(w3)
        self._account = account

    def wrap_make_request(self, make_request: MakeRequestFn) -> MakeRequestFn:
        """For Web3."""

        def middleware(method: RPCEndpoint, params: Any) -> RPCResponse:
            if method not in _SERVED:
                return make_request(method, params)
            if _needs_chain(method, params):
                params = _on_chain(params, make_request(_endpoint("eth_chainId"), []))
            return _answer(self._serve(method, params))

        return middleware

    async def async_wrap_make_request(self, make_request: AsyncMakeRequestFn) -> AsyncMakeRequestFn:
        """For AsyncWeb3; the gate is waited for on a thread."""

        async def middleware(method: RPCEndpoint, params: Any) -> RPCResponse:
            if method not in _SERVED:
                return await make_request(method, params)
            if _needs_chain(method, params):
                params = _on_chain(params, await make_request(_endpoint("eth_chainId"), []))
            return _answer(await self._account.threads.run(self._serve, method, params))

        return middleware

    def _serve(self, method: str, params: Sequence[Any]) -> object:
        account = self._account
        if method in _SENDING:
            fields = {"from": account.address, **params[0]}
            return account.send(fields).to_0x_hex() if method != "eth_signTransaction" else _signed(account, fields)
        if method in _TYPED:
            self._check_account(params[0])
            full = json.loads(params[1]) if isinstance(params[1], str) else params[1]
            return account.sign_typed_data(full_message=full).signature.to_0x_hex()
        if method == "personal_sign":
            self._check_account(params[1])
            return _signature(account, "message", params[0])
        if method == "eth_sign":
            self._check_account(params[0])
            return _signature(account, "hash", params[1])
        return [account.address]

    def _check_account(self, address: object) -> None:
        if not isinstance(address, str) or address.lower() != self._account.address.lower():
            raise make(InvalidRequestError, "this Web3 signs for its own wallet only", code="wrong_wallet")


def _signed(account: GateAccount, fields: Mapping[str, Any]) -> dict[str, object]:
    signed = account.sign_transaction(fields)
    values = {"hash": signed.hash.to_0x_hex(), "v": hex(signed.v), "r": hex(signed.r), "s": hex(signed.s)}
    return {"raw": signed.raw_transaction.to_0x_hex(), "tx": {**transaction(fields), **values}}


def _signature(account: GateAccount, kind: str, data: object) -> str | None:
    chosen: Any = kind
    return account.request(chosen, {"data": document(data)}).signature


def _needs_chain(method: str, params: Sequence[Any]) -> bool:
    return method in _SENDING and params[0].get("chainId") is None


def _on_chain(params: Sequence[Any], answer: Mapping[str, Any]) -> list[Any]:
    chain_id = answer.get("result")
    if chain_id is None:
        raise make(InvalidRequestError, "the provider does not say which chain it is on", code="chain_unknown")
    return [{**params[0], "chainId": chain_id}, *params[1:]]


def _endpoint(method: str) -> RPCEndpoint:
    chosen: Any = method
    return chosen  # type: ignore[no-any-return]  # a NewType over str


def _answer(result: object) -> RPCResponse:
    return {"jsonrpc": "2.0", "id": 1, "result": result}
