"""What a 402 answer offers (x402, versions 1 and 2), held against the policy, and the EIP-712 data that would pay it.

Everything in a 402 answer is the seller's word. What the policy pins is taken from the policy: which token it is, its
name and decimals, which chains there are. What the seller alone can say (price, payee, the token's EIP-712 name) goes
into the signed data in the open, where the gate judges it. An offer that cannot be read exactly is passed over, with
the reason.

Two forms of payment of the scheme `exact` are known: EIP-3009 `TransferWithAuthorization`, and Permit2's
`PermitWitnessTransferFrom`, whose spender is x402's proxy and whose witness names the payee.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from eth_utils.address import to_checksum_address

from walletgate.agent.amounts import from_units
from walletgate.agent.answers import PinnedAsset, PolicyView
from walletgate.agent.errors import OfferRefused, make
from walletgate.types import CHAINS, UINT256_MAX

ANSWER_BYTES_MAX: Final = 64 * 1024
"""The longest 402 answer that is read."""

OFFERS_MAX: Final = 8
"""How many offers of one answer are looked at."""

TIMEOUT_S_MAX: Final = 3600
"""The longest validity a seller gets, unless an operator has to be waited for."""

PERMIT2: Final = "0x000000000022D473030F116dDEE9F6B43aC78BA3"
X402_EXACT_PROXY: Final = "0x402085c248EeA27D92E8b30b2C58ed07f9E20001"

_NUMBER: Final = re.compile(r"[1-9][0-9]{0,77}", re.ASCII)
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_CAIP2: Final = re.compile(r"eip155:([1-9][0-9]{0,18})", re.ASCII)
_NAME_LENGTH_MAX: Final = 64

_AUTHORIZATION: Final = (
    ("from", "address"), ("to", "address"), ("value", "uint256"), ("validAfter", "uint256"), ("validBefore", "uint256"),
    ("nonce", "bytes32"),
)  # fmt: skip
_WITNESS_TRANSFER: Final = (
    ("permitted", "TokenPermissions"), ("spender", "address"), ("nonce", "uint256"), ("deadline", "uint256"),
    ("witness", "Witness"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Offer:
    """One way to pay, as the policy understands it: `units` of `asset` to `payee`.

    `timeout_s` is how long the seller wants to collect; `said` is the seller's own object, to be sent back unchanged.
    """

    asset: PinnedAsset
    units: int
    payee: str
    permit2: bool
    timeout_s: int
    domain: tuple[str, str]
    said: Mapping[str, Any]

    @property
    def terms(self) -> tuple[int, str | None, int, str, bool]:
        """What must not change between an answer and the next: chain, token, price, payee and form."""
        return self.asset.chain_id, self.asset.address, self.units, self.payee, self.permit2

    @property
    def price(self) -> str:
        """The price in words, such as `1.5 USDC`."""
        return f"{from_units(self.units, self.asset)} {self.asset.name}"

    def typed_data(self, wallet: str, nonce: bytes, until: int) -> dict[str, Any]:
        """The EIP-712 document that pays this, good until the Unix second `until`, exclusive."""
        if self.permit2:
            return self._witness_transfer(nonce, until)
        message = {
            "from": wallet, "to": self.payee, "value": str(self.units), "validAfter": "0", "validBefore": str(until),
            "nonce": "0x" + nonce.hex(),
        }  # fmt: skip
        domain = {
            "name": self.domain[0], "version": self.domain[1], "chainId": self.asset.chain_id,
            "verifyingContract": self.asset.address,
        }  # fmt: skip
        return _document("TransferWithAuthorization", domain, message, {"TransferWithAuthorization": _AUTHORIZATION})

    def _witness_transfer(self, nonce: bytes, until: int) -> dict[str, Any]:
        message = {
            "permitted": {"token": self.asset.address, "amount": str(self.units)},
            "spender": X402_EXACT_PROXY,
            "nonce": str(int.from_bytes(nonce, "big")),
            "deadline": str(until),
            "witness": {"to": self.payee, "validAfter": "0"},
        }
        kinds = {
            "PermitWitnessTransferFrom": _WITNESS_TRANSFER,
            "TokenPermissions": (("token", "address"), ("amount", "uint256")),
            "Witness": (("to", "address"), ("validAfter", "uint256")),
        }
        domain = {"name": "Permit2", "chainId": self.asset.chain_id, "verifyingContract": PERMIT2}
        return _document("PermitWitnessTransferFrom", domain, message, kinds)

    def payload(self, wallet: str, document: Mapping[str, Any], signature: str) -> dict[str, Any]:
        """What x402 calls the scheme's payload."""
        message = dict(document["message"])
        key = "permit2Authorization" if self.permit2 else "authorization"
        return {"signature": signature, key: {"from": wallet, **message}}


@dataclass(frozen=True, slots=True)
class Answer:
    """A 402 answer: the protocol's version, its offers that can be understood, and why others cannot."""

    version: int
    offers: tuple[Offer, ...]
    unfit: tuple[str, ...]
    resource: Mapping[str, Any] | None

    def header(self, offer: Offer, payload: Mapping[str, Any]) -> tuple[str, str]:
        """The header that presents a payment."""
        if self.version == 1:
            said = {"scheme": offer.said["scheme"], "network": offer.said["network"]}
            return "X-PAYMENT", _encoded({"x402Version": 1, **said, "payload": payload})
        body: dict[str, Any] = {"x402Version": 2, "payload": payload, "accepted": offer.said}
        if self.resource is not None:
            body["resource"] = self.resource
        return "PAYMENT-SIGNATURE", _encoded(body)


def read_answer(header: str | None, body: bytes, policy: PolicyView) -> Answer | None:
    """The answer in the `PAYMENT-REQUIRED` header (version 2) or the body (version 1); None if this is no x402.

    Raises:
        OfferRefused: `x402_malformed`.
    """
    found = _object(header, body)
    if found is None:
        return None
    version, accepts, resource = found.get("x402Version"), found.get("accepts"), found.get("resource")
    if version not in (1, 2) or not isinstance(accepts, list) or not isinstance(resource, dict | None):
        raise make(OfferRefused, "the 402 answer is not one of x402, version 1 or 2", code="x402_malformed")
    offers, unfit = [], []
    for place, said in enumerate(accepts[:OFFERS_MAX]):
        offer = _offer(said, version, policy)
        if isinstance(offer, Offer):
            offers.append(offer)
        else:
            unfit.append(f"offer {place + 1}: {offer}")
    return Answer(version, tuple(offers), tuple(unfit), resource)


def _object(header: str | None, body: bytes) -> dict[str, Any] | None:
    if max(len(header or ""), len(body)) > ANSWER_BYTES_MAX:
        raise make(OfferRefused, f"the 402 answer exceeds {ANSWER_BYTES_MAX} bytes", code="x402_malformed")
    try:
        found = json.loads(body if header is None else base64.b64decode(header, validate=True))
    except (ValueError, binascii.Error, RecursionError):
        if header is None:
            return None
        raise make(OfferRefused, "the 402 answer's header is not base64 of JSON", code="x402_malformed") from None
    is_x402 = isinstance(found, dict) and "x402Version" in found
    return found if is_x402 else None


def _offer(  # noqa: PLR0911 - one line for each reason to pass it over
    said: object, version: int, policy: PolicyView
) -> Offer | str:
    """The offer, or why it is none for this agent."""
    if not isinstance(said, dict) or said.get("scheme") != "exact":
        return "its scheme is not exact"
    chain_id = _chain(said.get("network"))
    if chain_id is None or chain_id not in policy.chain_ids:
        return "its network is none of the policy's chains"
    token = _address(said.get("asset"))
    asset = next(
        (a for a in policy.assets if a.chain_id == chain_id and token is not None and a.address == token), None
    )
    if asset is None:
        return "its asset is not one that the policy names"
    amount = said.get("amount" if version == 2 else "maxAmountRequired")
    payee, timeout_s, extra = _address(said.get("payTo")), said.get("maxTimeoutSeconds"), said.get("extra") or {}
    if not isinstance(amount, str) or not _NUMBER.fullmatch(amount) or int(amount) > UINT256_MAX:
        return "its amount is not a positive number of base units"
    if payee is None:
        return "its payee is not an address"
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int) or timeout_s < 0 or not isinstance(extra, dict):
        return "it is malformed"
    method = extra.get("assetTransferMethod", "eip3009")
    domain = tuple(str(extra.get(name, "")) for name in ("name", "version"))
    if method not in ("eip3009", "permit2") or (method == "eip3009" and not all(map(_is_name, domain))):
        return "its way of transfer is neither EIP-3009 with a name and version nor Permit2"
    wanted_s = min(timeout_s or TIMEOUT_S_MAX, TIMEOUT_S_MAX)
    return Offer(asset, int(amount), payee, method == "permit2", wanted_s, (domain[0], domain[1]), said)


def _chain(network: object) -> int | None:
    """A CAIP-2 id, or one of the names that version 1 uses."""
    if not isinstance(network, str):
        return None
    found = _CAIP2.fullmatch(network)
    if found is not None:
        return int(found[1])
    return CHAINS[network][0] if network in CHAINS else None


def _address(text: object) -> str | None:
    """A checksummed address; one whose letters are mixed must have the right checksum."""
    if not isinstance(text, str) or not _ADDRESS.fullmatch(text):
        return None
    right = to_checksum_address(text)
    return str(right) if text in (right, text.lower(), "0x" + text[2:].upper()) else None


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _NAME_LENGTH_MAX and text.isprintable()


def _document(
    primary: str, domain: dict[str, Any], message: dict[str, Any], kinds: Mapping[str, tuple[tuple[str, str], ...]]
) -> dict[str, Any]:
    of_domain = {"name": "string", "version": "string", "chainId": "uint256", "verifyingContract": "address"}
    types = {name: [{"name": field, "type": kind} for field, kind in fields] for name, fields in kinds.items()}
    types["EIP712Domain"] = [{"name": name, "type": kind} for name, kind in of_domain.items() if name in domain]
    return {"types": types, "primaryType": primary, "domain": domain, "message": message}


def _encoded(body: object) -> str:
    return base64.b64encode(json.dumps(body, separators=(",", ":")).encode()).decode()
