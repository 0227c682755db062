"""Sets of addresses as rules name them: the wallet's own, everybody, some anywhere, some on one chain."""

from __future__ import annotations

from dataclasses import dataclass

from walletgate.types import Address

ContractId = tuple[int, Address]
"""A contract is a chain and an address: the same address elsewhere is another contract."""


@dataclass(frozen=True, slots=True)
class AddressSet:
    """Addresses a rule speaks of. `own` is the wallet and the policy's accounts, `pinned` are valid on one chain."""

    anyone: bool = False
    own: bool = False
    members: frozenset[Address] = frozenset()
    pinned: frozenset[ContractId] = frozenset()

    def has(self, address: Address, chain_id: int, own: frozenset[Address]) -> bool:
        """Whether `address` on `chain_id` is one of them, for a request by one of `own`."""
        return (
            self.anyone
            or address in self.members
            or (self.own and address in own)
            or (chain_id, address) in self.pinned
        )


NOBODY = AddressSet()
ANYONE = AddressSet(anyone=True)
OWN = AddressSet(own=True)
