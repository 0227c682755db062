"""Buying over x402 with a scoped signer: picks an offer the policy permits, pays once, says when that was in vain.

    shop = walletgate.x402_client("buyer")
    with shop.httpx() as http:                 # or: async with shop.async_httpx() as http, or shop.requests()
        http.get("https://api.example/weather")

What it promises, beside what the gate does anyway:

- price, token, payee and the host and path that were called go to the gate as `expect`, memo and trace, so that the
  decision and the log say what was bought and from whom;
- one call pays at most `payments_max` times, and after the first only on the same or better terms to the same payee;
- the same purchase asked for again (an operator had to decide, an answer was lost, the seller took the payment and
  served nothing) presents the payment that is there, as long as it is good, and never makes a second one;
- an operator's decision is waited for before anything is good: the validity asked for has room for it, within the
  policy's `max_ttl`, and what is left of it is looked at again before it is used.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

from walletgate.agent.amounts import from_units
from walletgate.agent.answers import Preview
from walletgate.agent.context import in_tool_call, tool_call
from walletgate.agent.errors import (
    ApprovalPending,
    ApprovalRejected,
    GateDenied,
    GateUnavailable,
    OfferRefused,
    PaidNotServed,
    make,
)
from walletgate.agent.x402_offers import Answer, Offer, read_answer
from walletgate.errors import WalletGateError
from walletgate.types import Outcome

if TYPE_CHECKING:
    import requests
    from httpx import AsyncClient as AsyncHttpx
    from httpx import Client as Httpx

    from walletgate.agent.account import GateAccount

HEADER: Final = "PAYMENT-REQUIRED"
"""The header of a 402 answer of version 2."""

MARGIN_S: Final = 10
"""A payment with less validity left than this is not presented: sellers' facilitators refuse it."""

KEPT_MAX: Final = 1000
"""How many purchases that are not at their end are remembered."""

_NOT_IN_IDS: Final = re.compile(r"[^A-Za-z0-9._:/@=+-]")
_PLACE_LENGTH_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class Resource:
    """What is bought: a method, the URL that was called, and the body sent there."""

    method: str
    url: str
    body_hash: bytes

    @property
    def host(self) -> str:
        """The host that was called, without its port."""
        return urlsplit(self.url).hostname or ""

    @property
    def place(self) -> str:
        """Host and path; no query, because that may hold secrets."""
        parts = urlsplit(self.url)
        return f"{parts.netloc.rpartition('@')[2]}{parts.path}"[:_PLACE_LENGTH_MAX]


@dataclass(frozen=True, slots=True)
class Payment:
    """A purchase on its way. `id` is ours, `request_id` the gate's once it has answered; `until` is in Unix seconds."""

    resource: Resource
    offer: Offer
    id: str
    document: dict[str, Any]
    until: int
    request_id: str | None = None
    signature: str | None = None

    @property
    def words(self) -> str:
        """What is paid for what."""
        return f"{self.offer.price} to {self.offer.payee} for {self.resource.method} {self.resource.place}"


class X402Client:
    """The purchases of one agent. Threads and tasks may share it."""

    def __init__(self, account: GateAccount, *, payments_max: int = 1, approval_s: float = 1800.0) -> None:
        """`payments_max` bounds the payments of one call; `approval_s` is how long an operator may take."""
        self.account = account
        self.payments_max = payments_max
        self._approval_s = approval_s
        self._kept: OrderedDict[str, tuple[Payment, Call]] = OrderedDict()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"X402Client({self.account.name!r})"

    # --- doors ---

    def httpx(self, **options: Any) -> Httpx:
        """An `httpx.Client` that pays; options are httpx's."""
        from walletgate.agent.x402_httpx import PayingClient  # noqa: PLC0415 - httpx is optional

        return PayingClient(self, **options)

    def async_httpx(self, **options: Any) -> AsyncHttpx:
        """An `httpx.AsyncClient` that pays; the gate is waited for on a thread."""
        from walletgate.agent.x402_httpx import AsyncPayingClient  # noqa: PLC0415 - httpx is optional

        return AsyncPayingClient(self, **options)

    def requests(self) -> requests.Session:
        """A `requests.Session` that pays."""
        from walletgate.agent.x402_requests import PayingSession  # noqa: PLC0415 - requests is optional

        return PayingSession(self)

    def call(self, method: str, url: str, body: bytes) -> Call:
        """One HTTP call, for HTTP clients that none of the doors is for."""
        return Call(self, Resource(method.upper(), url, sha256(body).digest()))

    # --- purchases ---

    def pay(self, call: Call, header: str | None, body: bytes, before: Offer | None) -> tuple[Answer, Payment]:
        """The signed payment for a 402 answer to `call`. `before` is what was paid in it already."""
        resource = call.resource
        answer = read_answer(header, body, self.account.client.policy())
        if answer is None:
            raise make(OfferRefused, "the 402 answer is not one of x402", code="x402_malformed")
        _check_resource(resource, answer)
        offers = [offer for offer in answer.offers if before is None or _no_worse(offer, before)]
        if before is not None and not offers:
            raise make(OfferRefused, "after the payment the seller asks on other terms", code="x402_offer_changed")
        with _traced(resource):
            payment = self._resumed(call, answer) if before is None else None
            return answer, self._signed(call, payment or self._chosen(resource, offers, answer))

    def forget(self, payment: Payment) -> None:
        """It has come to its end."""
        with self._lock:
            self._kept.pop(payment.id, None)

    def _keep(self, call: Call, payment: Payment) -> None:
        with self._lock:
            self._kept[payment.id] = (payment, call)
            while len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)

    def _resumed(self, call: Call, answer: Answer) -> Payment | None:
        """The purchase that an earlier call left unfinished, with the offer as the seller says it now."""
        with self._lock:
            left = [p for p, other in self._kept.values() if p.resource == call.resource and other.is_over]
            if not left:
                return None
            kept = left[0]
            self._kept[kept.id] = (kept, call)
        same = next((offer for offer in answer.offers if offer.terms == kept.offer.terms), None)
        if kept.until - time.time() < MARGIN_S or (same is None and kept.signature is None):
            self._end(kept)
            return None
        if same is not None:
            return replace(kept, offer=same)
        raise make(
            OfferRefused,
            f"the seller has changed its terms while a payment is out: {kept.words}; nothing else is paid there "
            f"before {kept.until} (Unix seconds), when that one lapses",
            code="x402_offer_changed",
            data={"request_id": kept.request_id, "id": kept.id},
        )

    def _end(self, payment: Payment) -> None:
        """What was never presented is taken back, so that no operator is asked for nothing."""
        self.forget(payment)
        if payment.signature is None:
            with suppress(WalletGateError):
                self.account.client.withdraw(payment.id)

    def _chosen(self, resource: Resource, offers: list[Offer], answer: Answer) -> Payment:
        """The first offer that the policy allows, else the first that an operator would be asked about.

        Raises:
            GateDenied: none, with the reasons for the first.
            OfferRefused: `x402_no_offer`.
        """
        asks, denials = [], []
        for offer in offers:
            payment, preview = self._previewed(resource, offer, offer.timeout_s)
            if preview.outcome is Outcome.ALLOW:
                return payment
            if preview.outcome is Outcome.DENY:
                denials.append(preview)
            else:
                asks.append(offer)
        if asks:
            return self._previewed(resource, asks[0], int(asks[0].timeout_s + self._approval_s))[0]
        if denials:
            words = "; ".join(reason.text for reason in denials[0].reasons) or "no rule permits it"
            denied = make(GateDenied, f"denied by the policy, nothing was paid: {words}")
            denied.reasons = denials[0].reasons
            denied._limits = lambda: self.account.limits().left  # noqa: SLF001 - ours
            raise denied
        why = "; ".join(answer.unfit) or "it offers nothing"
        raise make(OfferRefused, f"no way to pay that this agent has: {why}", code="x402_no_offer")

    def _previewed(self, resource: Resource, offer: Offer, life_s: int) -> tuple[Payment, Preview]:
        """A payment as good as `life_s` seconds, or as the policy lets signatures be, and what the gate would say."""
        payment = self._drafted(resource, offer, life_s)
        preview = self.account.client.preview("typed_data", payment.document, **_said(payment))
        bounds = [r.bound for r in preview.reasons if r.code == "signature_too_long" and r.bound is not None]
        if preview.outcome is Outcome.DENY and bounds and MARGIN_S <= max(bounds) < life_s:
            payment = self._drafted(resource, offer, max(bounds))
            preview = self.account.client.preview("typed_data", payment.document, **_said(payment))
        return payment, preview

    def _drafted(self, resource: Resource, offer: Offer, life_s: int) -> Payment:
        until = int(time.time()) + life_s
        document = offer.typed_data(self.account.address, secrets.token_bytes(32), until)
        return Payment(resource, offer, f"x402_{secrets.token_hex(16)}", document, until)

    def _signed(self, call: Call, payment: Payment) -> Payment:
        """Asks with the payment's id, so that asking again gets the same signature and nothing is paid twice."""
        if payment.signature is not None:
            return payment
        try:
            request = self.account.client.request("typed_data", payment.document, id=payment.id, **_said(payment))
        except ApprovalPending as pending:
            self._keep(call, replace(payment, request_id=pending.request_id))
            raise
        except GateUnavailable:
            self._keep(call, payment)
            raise
        except (GateDenied, ApprovalRejected):
            self.forget(payment)
            raise
        if request.signature is None or request.wallet.lower() != self.account.address.lower():
            raise make(GateUnavailable, "the gate's answer has no signature", code="answer_invalid")
        signed = replace(payment, request_id=request.request_id, signature=request.signature)
        if signed.until - time.time() < MARGIN_S:
            self.forget(signed)
            raise make(
                OfferRefused,
                "the decision came when the payment's validity was over; nothing was presented: call again",
                code="x402_too_late",
                data={"request_id": signed.request_id, "id": signed.id},
            )
        self._keep(call, signed)
        return signed


class Call:
    """One HTTP call that may have to be paid for, as a context: what to send along, and what its answers come to."""

    def __init__(self, client: X402Client, resource: Resource) -> None:
        self.resource = resource
        self.is_over = False
        self._client = client
        self._payment: Payment | None = None
        self._paid = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """What this call leaves unfinished, however it ends, the next one like it takes up."""
        self.is_over = True

    def pays(self, header: str | None, body: bytes) -> dict[str, str]:
        """The header that pays for a 402 answer; `header` is its `PAYMENT-REQUIRED`.

        Raises:
            GateDenied, ApprovalPending, ApprovalRejected: the gate's word; after a yes, make the same call again.
            OfferRefused: the answer is none that can be paid.
            PaidNotServed: this call has paid already.
        """
        if self._paid >= self._client.payments_max:
            raise self.not_served("asks for money again")
        before = None if self._payment is None else self._payment.offer
        answer, payment = self._client.pay(self, header, body, before)
        self._payment = payment
        self._paid += 1
        payload = payment.offer.payload(self._client.account.address, payment.document, payment.signature or "")
        name, value = answer.header(payment.offer, payload)
        return {name: value, "Access-Control-Expose-Headers": "PAYMENT-RESPONSE,X-PAYMENT-RESPONSE"}

    def answered(self, status: int) -> None:
        """Takes note of the status that came back for the payment.

        Raises:
            PaidNotServed: an error; a further 402 is left to `pays`.
        """
        if self._payment is None or status == 402:
            return
        if status >= 400:
            raise self.not_served(f"answered with HTTP status {status}")
        self._client.forget(self._payment)

    def not_served(self, what: str) -> PaidNotServed:
        """The error for a payment that was presented in vain, as far as one knows here."""
        payment = self._payment
        if payment is None:
            return make(PaidNotServed, f"the seller {what}")
        error = make(
            PaidNotServed,
            f"paid, but the seller {what}: {payment.words}. The same call made again before {payment.until} (Unix "
            f"seconds) presents this payment ({payment.request_id}) and makes no other",
            data={"request_id": payment.request_id, "id": payment.id, "valid_until": payment.until},
        )
        error.request_id, error.id, error.valid_until = payment.request_id, payment.id, payment.until
        return error


def is_x402(header: str | None, body: bytes) -> bool:
    """Whether a 402 answer is x402's, well-formed or not."""
    return header is not None or b'"x402Version"' in body


def _check_resource(resource: Resource, answer: Answer) -> None:
    """A 402 answer that says it is another host's is another host's."""
    if answer.version == 1:
        places = [offer.said.get("resource") for offer in answer.offers]
    else:
        places = [(answer.resource or {}).get("url")]
    hosts = {urlsplit(place).hostname for place in places if isinstance(place, str) and "://" in place}
    if hosts - {resource.host}:
        raise make(
            OfferRefused,
            f"{resource.host} asks for money for something of another host",
            code="x402_other_resource",
        )


def _no_worse(offer: Offer, before: Offer) -> bool:
    same = (offer.asset, offer.payee, offer.permit2) == (before.asset, before.payee, before.permit2)
    return same and offer.units <= before.units


def _said(payment: Payment) -> dict[str, Any]:
    """What the agent means, for the gate to hold the signature against, and for operators and the log."""
    offer = payment.offer
    amount = from_units(offer.units, offer.asset)
    return {
        "expect": {"asset": offer.asset.name, "amount": amount, "recipient": offer.payee},
        "memo": f"x402: {offer.price} for {payment.resource.method} {payment.resource.place}",
    }


@contextmanager
def _traced(resource: Resource) -> Iterator[None]:
    """The trace names the resource, unless the agent says which tool call this is."""
    if in_tool_call():
        yield
        return
    with tool_call(_NOT_IN_IDS.sub("-", f"x402:{resource.method}:{resource.place}")[:128]):
        yield
