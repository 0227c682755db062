"""What a router holds for its caller between the steps of one plan.

Routers run several steps in one call: take tokens, swap into themselves, unwrap, pay out. The minimum that
counts is the one the last step enforces, and the recipient that counts is the last one. A ledger follows the
assets from step to step, and what is still in the router when the plan ends is lost to whoever comes next.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from walletgate.types import UINT256_MAX, Address, Asset, Effect, Opaque, Receive, Redirect


class Holding(NamedTuple):
    """At least `amount` of one asset. `sold` is what it was bought with; None for what the caller put in itself."""

    amount: int
    sold: Asset | None = None
    sold_amount: int = 0

    @property
    def is_proceeds(self) -> bool:
        """Whether this came out of a swap, not out of the caller's pocket."""
        return self.sold is not None


class Ledger:
    """The holdings of `router` on behalf of `owner` during one plan, which ends at `deadline` if it has one.

    Proceeds of two different sales, or proceeds and own funds, must not run together in one asset: nobody could
    say any more what was sold for what, and a bad price would hide behind a good one. Such a plan is opaque.
    """

    __slots__ = ("_held", "_mixed", "_open", "_used", "deadline", "owner", "router")

    def __init__(self, router: Address, owner: Address, deadline: int | None = None, *, used: bool = False) -> None:
        self.router = router
        self.owner = owner
        self.deadline = deadline
        self._held: dict[Asset, Holding] = {}
        self._mixed = False
        self._open: set[Asset] = set()
        self._used = used

    def begin(self) -> None:
        """The plan swaps: from here on, whatever it leaves in the router is lost."""
        self._used = True

    def put(self, asset: Asset, amount: int) -> None:
        """The caller's own funds arrive."""
        held = self._held.get(asset, Holding(0))
        self._mixed |= held.is_proceeds and amount > 0
        self._held[asset] = held._replace(amount=_sum(held.amount, amount))

    def gain(self, asset: Asset, holding: Holding) -> None:
        """Proceeds of a swap arrive."""
        held = self._held.get(asset, Holding(0))
        self._used = True
        self._mixed |= held.sold != holding.sold if held.is_proceeds else held.amount > 0
        before = held.sold_amount if held.sold == holding.sold else 0
        sold_amount = _sum(before, holding.sold_amount)
        self._held[asset] = Holding(_sum(held.amount, holding.amount), holding.sold or held.sold, sold_amount)

    def use(self, asset: Asset, amount: int, *, exact: bool = True) -> None:
        """A step consumes `amount` of what is held; more than is known to be there empties it.

        If it may consume less (`exact` is false), somebody has to ask for the rest later; and so where a part of
        proceeds is used, because they may be more than their minimum.
        """
        self._used = True
        held = self._held.get(asset)
        if exact and amount == UINT256_MAX:
            self._open.discard(asset)
        elif not exact or (held is not None and held.is_proceeds):
            self._open.add(asset)
        if held is not None and held.amount > amount:
            self._held[asset] = held._replace(amount=held.amount - amount)
        else:
            self._held.pop(asset, None)

    def mix(self) -> None:
        """Two sales have run together outside the ledger's sight."""
        self._mixed = True

    def held(self, asset: Asset) -> Holding | None:
        """What is there, if anything."""
        return self._held.get(asset)

    def move(self, source: Asset, target: Asset, minimum: int) -> None:
        """Wrapping and unwrapping inside the router: the same funds under another name."""
        self._open.discard(source)
        held = self._held.pop(source, Holding(0))
        moved = held._replace(amount=max(held.amount, minimum))
        if moved.is_proceeds:
            self.gain(target, moved)
        else:
            self.put(target, moved.amount)

    def pay(self, asset: Asset, recipient: Address, minimum: int, path: str) -> Iterator[Effect]:
        """Everything held of `asset` goes to `recipient`, who gets at least `minimum`."""
        self._open.discard(asset)
        held = self._held.pop(asset, Holding(0))
        if held.is_proceeds or minimum:
            yield Receive(asset, recipient, max(held.amount, minimum), held.sold, held.sold_amount, self.deadline, path)
        elif recipient != self.owner:
            yield Redirect(recipient, "what the router holds", path)

    def close(self, path: str) -> Iterator[Effect]:
        """What was bought and never delivered is stranded, and so is what was put in and never used up."""
        if self._mixed:
            yield Opaque("mixed_proceeds", "different sales run together in one asset", self.router, path)
        left = self._open or any(held.is_proceeds or held.amount for held in self._held.values())
        if self._used and left:
            yield Opaque("stranded_funds", "something stays in the router for whoever comes next", self.router, path)


def _sum(left: int, right: int) -> int:
    """No token moves more than 2^256 - 1."""
    return min(UINT256_MAX, left + right)
