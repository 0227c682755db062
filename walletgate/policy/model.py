"""What a policy means once it is read: names resolved, amounts in base units, windows in milliseconds.

Everything here is a frozen value, and all of it is in the policy's hash. Collections whose order means nothing
are frozensets or sorted tuples, so that two texts that mean the same compile to equal values.

A `Match` says which effects a rule speaks of. Permit rules read it narrowly (what is not named is not
permitted); `forbid` and `approve` read it widely (what is not named is not required): a payment to a forbidden
address is also an allowance to it, proceeds for it, or a contract that takes funds at it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from walletgate.policy.addresses import ANYONE, NOBODY, OWN, AddressSet, ContractId
from walletgate.policy.conditions import Condition
from walletgate.types import Address, ApprovalTerms, Asset, Measure

# --- what a rule speaks of -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TransferMatch:
    """Payments. `assets` None: any at all; `via` are protocol contracts that may carry the payment."""

    assets: frozenset[Asset] | None
    to: AddressSet
    sender: AddressSet = OWN
    via: AddressSet = NOBODY
    not_to: AddressSet = NOBODY


@dataclass(frozen=True, slots=True)
class FunctionMatch:
    """One contract function and the condition on its arguments; `label` is its canonical signature.

    `params` are the parameters' names: the decoder tells recipients of value by them, so they are meaning.
    """

    label: str
    params: tuple[str, ...] = ()
    where: Condition | None = None


@dataclass(frozen=True, slots=True)
class CallMatch:
    """Calls of contract functions. `contracts` None: any; `functions` by selector, None: any decoded one.

    `spend` is what the call may take, `to` who else may get something of value through it.
    """

    contracts: frozenset[ContractId] | None
    functions: Mapping[bytes, FunctionMatch] | None
    spend: frozenset[Asset] = frozenset()
    to: AddressSet = OWN
    via: AddressSet = NOBODY
    delegatecall: bool = False


@dataclass(frozen=True, slots=True)
class AllowanceMatch:
    """Allowances. `most` is the largest per asset, None in it is unlimited; `assets` None: any at all.

    `counted` says that an allowance is booked like a payment to its spender.
    """

    assets: frozenset[Asset] | None
    spender: AddressSet
    most: int | None = None
    ttl_max_s: int | None = None
    counted: bool = True
    not_spender: AddressSet = NOBODY


@dataclass(frozen=True, slots=True)
class RevokeMatch:
    """Taking allowances and operators back."""


@dataclass(frozen=True, slots=True)
class NftMatch:
    """Tokens of collections: to whom they may go, who may operate them, the least wei they may be sold for."""

    collections: frozenset[ContractId] | None
    to: AddressSet = NOBODY
    operators: AddressSet = NOBODY
    sell_above: int | None = None


@dataclass(frozen=True, slots=True)
class SignMatch:
    """EIP-712 signatures by contract and primary type; `ttl_max_s` None: however long they are valid."""

    contracts: frozenset[ContractId] | None
    primary_types: frozenset[str] | None
    ttl_max_s: int | None
    spend: frozenset[Asset] = frozenset()
    to: AddressSet = OWN
    via: AddressSet = NOBODY


@dataclass(frozen=True, slots=True)
class LoginMatch:
    """Sign-In with Ethereum at exactly these domains; None: any."""

    domains: frozenset[str] | None
    ttl_max_s: int | None


@dataclass(frozen=True, slots=True)
class MessageMatch:
    """Readable texts: exactly these, or beginning with these; neither: any."""

    texts: frozenset[str] = frozenset()
    prefixes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class DeployMatch:
    """New contracts with exactly this init code (keccak-256); None: any."""

    init_code_hashes: frozenset[bytes] | None


@dataclass(frozen=True, slots=True)
class DelegateMatch:
    """Power handed over: kinds of delegation and to whom. `any_chain`: also where it is valid on every chain."""

    kinds: frozenset[str] | None
    to: AddressSet
    any_chain: bool = False


@dataclass(frozen=True, slots=True)
class AdminMatch:
    """Administrative acts on contracts, in favour of `subjects`."""

    contracts: frozenset[ContractId] | None
    actions: frozenset[str] | None
    subjects: AddressSet = OWN


@dataclass(frozen=True, slots=True)
class FeeShareMatch:
    """Shares of proceeds for others, in 1/10,000."""

    to: AddressSet
    bips_max: int


@dataclass(frozen=True, slots=True)
class TrailingMatch:
    """Bytes after complete calldata, at most so many."""

    size_max_bytes: int


@dataclass(frozen=True, slots=True)
class BlindMatch:
    """Exactly these kinds of blindness, and only towards these contracts where there is a target."""

    codes: frozenset[str] | None
    contracts: frozenset[ContractId] | None


Match = (
    TransferMatch
    | CallMatch
    | AllowanceMatch
    | RevokeMatch
    | NftMatch
    | SignMatch
    | LoginMatch
    | MessageMatch
    | DeployMatch
    | DelegateMatch
    | AdminMatch
    | FeeShareMatch
    | TrailingMatch
    | BlindMatch
)


# --- when an approval is needed --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AboveAmount:
    """The request takes strictly more of an asset than this; with `window_ms`, together with what was used in it."""

    measure: Measure
    asset: Asset | None
    unit: str | None
    amount: int
    window_ms: int | None = None


@dataclass(frozen=True, slots=True)
class NewRecipient:
    """Something goes to an address that this wallet has known for less than `age_ms`."""

    age_ms: int
    known: AddressSet


@dataclass(frozen=True, slots=True)
class Always:
    """Every request."""


When = AboveAmount | NewRecipient | Always | Match


# --- rules -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hours:
    """A weekly schedule in a time zone: `days` (Monday 0), from `start` up to before `end`, minutes of the day.

    `end` not after `start` runs over midnight and belongs to the day it starts on.
    """

    days: frozenset[int]
    start: int
    end: int
    zone: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A permit or forbid rule. After `expires_at` (Unix seconds) a permit permits nothing; a forbid never expires."""

    name: str
    match: Match
    expires_at: int | None = None
    hours: Hours | None = None


@dataclass(frozen=True, slots=True)
class Cooldown:
    """Forbids paying whom this wallet has not known for long enough."""

    name: str
    who: NewRecipient


@dataclass(frozen=True, slots=True)
class ApproveRule:
    """Asks people when `when` is met."""

    when: When
    terms: ApprovalTerms

    @property
    def name(self) -> str:
        """The rule's name."""
        return self.terms.rule


class Scope(Enum):
    """Whose running total a limit bounds."""

    GRANT = "grant"
    WALLET = "wallet"
    GROUP = "group"
    RECIPIENT = "recipient"
    CONTRACT = "contract"


@dataclass(frozen=True, slots=True)
class Limit:
    """A bound on what is added up. All bounds are inclusive; windows are (milliseconds, bound), shortest first.

    With scope RECIPIENT or CONTRACT `only` narrows it to some of them, each with a total of its own.
    `share_bips` bounds a request by a share (1/10,000) of what the wallet holds, rounded down.
    """

    name: str
    measure: Measure
    asset: Asset | None = None
    unit: str | None = None
    scope: Scope = Scope.GRANT
    only: AddressSet = ANYONE
    per_request: int | None = None
    windows: tuple[tuple[int, int], ...] = ()
    lifetime: int | None = None
    share_bips: int | None = None


@dataclass(frozen=True, slots=True)
class SwapTerms:
    """What proceeds of swaps and orders must meet: who gets them, a minimum, a price, a deadline."""

    to: AddressSet = OWN
    min_out: bool = True
    deadline_max_s: int | None = None
    require_deadline: bool = False
    """Whether a swap whose call has no deadline is refused; wrapping and bridging are no swaps."""
    floors: Mapping[tuple[Asset, Asset], tuple[int, int]] = field(default_factory=dict)
    """(sold, bought) -> at least sold * numerator / denominator base units, rounded up."""


@dataclass(frozen=True, slots=True)
class AskingTerms:
    """How often a grant may ask operators. `windows` and `freeze_after` are (milliseconds, requests), shortest first.

    More than `windows` is refused, more than `freeze_after`, refused ones included, freezes the grant. What an operator
    rejected is refused unchanged for `again_after_ms`.
    """

    windows: tuple[tuple[int, int], ...] = ()
    again_after_ms: int | None = None
    freeze_after: tuple[tuple[int, int], ...] = ()

    @property
    def bounds_anything(self) -> bool:
        """Whether there is any bound."""
        return bool(self.windows or self.freeze_after) or self.again_after_ms is not None


@dataclass(frozen=True, slots=True)
class Feed:
    """A contract that answers `latestRoundData()` with a price of so many decimals.

    `reference` (10^-18 parts of the currency) and `deviation_bips` (1/10,000 of it, inclusive): what is further off
    is no price. Both are None or neither.
    """

    contract: ContractId
    decimals: int
    reference: int | None = None
    deviation_bips: int | None = None


@dataclass(frozen=True, slots=True)
class Price:
    """What a whole unit of an asset is worth in a currency: `fixed`, in 10^-18 parts, or what `feed` says.

    Exactly one of the two is None. `age_max_s` is how old the feed's word may be, inclusive.
    """

    asset: Asset
    unit: str
    fixed: int | None
    age_max_s: int | None
    feed: Feed | None = None


class Need(Enum):
    """Facts beside the request that a policy's judgement rests on; the gate fetches only these."""

    BALANCES = "balances"
    PRICES = "prices"
    FIRST_SEEN = "first_seen"
    ALLOWANCES = "allowances"
    GAS = "gas"
    SIMULATION = "simulation"


@dataclass(frozen=True, slots=True)
class Terms:
    """The whole meaning of a policy: what is hashed."""

    version: int
    name: str
    chain_ids: frozenset[int]
    methods: frozenset[str]
    read_methods: frozenset[str]
    accounts: frozenset[Address]
    require_expect: bool
    expires_at: int | None
    gas_max: int | None
    assets: Mapping[str, tuple[Asset, ...]]
    decimals: Mapping[Asset, int]
    addresses: Mapping[str, AddressSet]
    underlying: Mapping[ContractId, Address]
    permits: tuple[Rule, ...]
    forbids: tuple[Rule, ...]
    cooldowns: tuple[Cooldown, ...]
    approves: tuple[ApproveRule, ...]
    limits: tuple[Limit, ...]
    swap: SwapTerms
    prices: tuple[Price, ...]
    simulate: bool = False
    """Transactions are refused unless a node ran them and found nothing that was not read."""

    asking: AskingTerms = AskingTerms()
