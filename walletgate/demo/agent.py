"""The demo's agent: a program that holds a grant token and nothing else.

Run as `python -m walletgate.demo.agent SCENE` with the demo's plan on stdin; it prints one JSON object for each
thing it did. It knows the gate's URL, its token, and the contracts it means to pay with.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import walletgate

_TRANSFER = "a9059cbb"
_STORM_THREADS = 50


def transfer_data(recipient: str, amount: int) -> str:
    """Calldata of an ERC-20 transfer."""
    return "0x" + _TRANSFER + recipient[2:].lower().rjust(64, "0") + f"{amount:064x}"


class Agent:
    """Pays for things through its scoped signer."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._account = walletgate.account("shopper", url=plan["url"], token=plan["token"])

    def pay(self, token: str, recipient: str, amount: int, *, name: str, **extra: Any) -> dict[str, Any]:
        """One ERC-20 payment of `amount` base units, and what became of it."""
        call = {"to": self._plan[token], "data": transfer_data(self._plan[recipient], amount)}
        try:
            tx_hash = self._account.send(call, id=name, **extra)
        except walletgate.GateDenied as denied:
            return {"id": name, "status": "denied", "reasons": [reason.text for reason in denied.reasons]}
        except walletgate.ApprovalPending as pending:
            return {"id": name, "status": "awaiting_approval", "request_id": pending.request_id}
        return {"id": name, "status": "sent", "tx_hash": "0x" + bytes(tx_hash).hex()}

    def shop(self) -> None:
        """Two calls to a paid API."""
        for number, price in enumerate((400_000, 600_000), 1):
            say(self.pay("tusd", "acme", price, name=f"api-call-{number}", memo=f"API call {number}"))

    def tip(self) -> None:
        """The accident: it means 52,439.283 LOBSTAR, and takes the token for one with nine decimals."""
        meant = Decimal("52439.283")
        wrong = int(meant * 10**9)
        say(self.pay("lobstar", "fan", wrong, name="tip", memo="a treat for the nice person"))

    def tip_again(self) -> None:
        """The same tip with the right decimals: below the cap, above what needs a human."""
        right = int(Decimal("52439.283") * 10**6)
        say(self.pay("lobstar", "fan", right, name="tip-again", memo="sorry, now with the right decimals", wait_s=0))

    def storm(self) -> None:
        """Fifty retries at once, each with an id of its own, as a broken retry loop makes them."""

        def one(number: int) -> dict[str, Any]:
            return self.pay("tusd", "acme", 1_000_000, name=f"retry-{number}")

        with ThreadPoolExecutor(_STORM_THREADS) as pool:
            results = list(pool.map(one, range(_STORM_THREADS)))
        say({"passed": sum(r["status"] != "denied" for r in results), "asked": len(results), "first": results[0]})

    def steal(self) -> None:
        """What an injected agent tries with its token; it says what it got."""
        got = []
        for attempt in ("key", "bytes"):
            try:
                got.append(str(self._account.key if attempt == "key" else bytes(self._account)))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is not a key
                say({"tried": attempt, "got": type(error).__name__})
        say({"keys": len(got)})


def say(event: dict[str, Any]) -> None:
    """Tells the demo."""
    print(json.dumps(event), flush=True)


def main() -> None:
    """Plays one scene."""
    plan = json.load(sys.stdin)
    agent = Agent(plan)
    scenes = {
        "shop": agent.shop, "tip": agent.tip, "tip-again": agent.tip_again, "storm": agent.storm, "steal": agent.steal,
    }  # fmt: skip
    scenes[sys.argv[1]]()


if __name__ == "__main__":
    main()
