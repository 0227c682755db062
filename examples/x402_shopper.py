"""An agent that logs in to a shop, buys credits for 1 USDC each over x402, and stops when its daily limit is used up.

    WALLETGATE_URL=http://127.0.0.1:8550 WALLETGATE_TOKEN=… python examples/x402_shopper.py https://shop.example 5

It holds no key. The policy it runs under is like examples/policies/x402-shopper.toml, with `personal_sign` among its
methods and a `login` permit for the shop's domain besides. Three habits:

- whom it logs in to comes from its own configuration, and the gate checks the domain in the message against the policy;
- a "no" of the gate ends the shopping, with what is left and when there is more: asking again would not help;
- a payment for which nothing came is presented again, never made again.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from eth_account.messages import encode_defunct

import walletgate

TRIES = 3


def login_message(address: str, domain: str, uri: str, nonce: str, chain_id: int) -> str:
    """Sign-In with Ethereum (EIP-4361), good for ten minutes."""
    now = datetime.now(UTC).replace(microsecond=0)
    until = now + timedelta(minutes=10)
    return (
        f"{domain} wants you to sign in with your Ethereum account:\n{address}\n\n\nURI: {uri}\nVersion: 1\n"
        f"Chain ID: {chain_id}\nNonce: {nonce}\nIssued At: {now:%Y-%m-%dT%H:%M:%SZ}\n"
        f"Expiration Time: {until:%Y-%m-%dT%H:%M:%SZ}"
    )


def log_in(account: walletgate.GateAccount, http: httpx.Client, shop: str) -> str:
    """A session at the shop."""
    asked: dict[str, str] = http.get(f"{shop}/nonce").raise_for_status().json()
    chain_id = account.limits().chain_id or 1
    message = login_message(account.address, asked["domain"], asked["uri"], asked["nonce"], chain_id)
    signature = account.sign_message(encode_defunct(text=message)).signature.to_0x_hex()
    answer = http.post(f"{shop}/login", json={"message": message, "signature": signature}).raise_for_status()
    return str(answer.json()["session"])


def buy(http: httpx.Client, shop: str, session: str) -> Any:
    """Buys once; what was paid and not served is asked for again with the same payment."""
    for attempt in range(TRIES):
        try:
            return http.post(f"{shop}/credits", headers={"X-Session": session}).raise_for_status().json()["credits"]
        except walletgate.PaidNotServed as vain:
            if attempt == TRIES - 1:
                raise
            print("paid, not served yet:", vain.request_id)
        except walletgate.ApprovalPending as pending:
            print("waiting for an operator:", pending.request_id)
            pending.wait()
    raise TimeoutError(f"an operator was asked {TRIES} times")


def main(shop: str, times: str) -> None:
    """Buys `times` times, or says why it stops."""
    account = walletgate.account("shopper")
    with walletgate.x402_client(account).httpx(timeout=30) as http:
        session = log_in(account, http, shop)
        print("logged in as", account.address)
        for number in range(1, int(times) + 1):
            try:
                print(f"purchase {number}: now {buy(http, shop, session)} credits")
            except walletgate.GateDenied as denied:
                for reason in denied.reasons:
                    print(f"stopped before purchase {number}: {reason.text} [{reason.code}]", file=sys.stderr)
                sys.exit(3)
            except (walletgate.PaidNotServed, walletgate.ApprovalRejected, walletgate.OfferRefused) as vain:
                sys.exit(f"stopped: {vain}")


if __name__ == "__main__":
    main(*sys.argv[1:])
