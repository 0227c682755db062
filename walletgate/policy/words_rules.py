"""One rule, one sentence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from walletgate.encoding import checksum_address, printable, to_hex
from walletgate.policy.addresses import AddressSet, ContractId
from walletgate.policy.amounts import format_amount, format_share
from walletgate.policy.document import Policy
from walletgate.policy.known import KNOWN_ADDRESSES
from walletgate.policy.model import (
    AboveAmount,
    AdminMatch,
    AllowanceMatch,
    Always,
    ApproveRule,
    AskingTerms,
    BlindMatch,
    CallMatch,
    Cooldown,
    DelegateMatch,
    DeployMatch,
    FeeShareMatch,
    Hours,
    Limit,
    LoginMatch,
    Match,
    MessageMatch,
    NewRecipient,
    NftMatch,
    RevokeMatch,
    Rule,
    Scope,
    SignMatch,
    TrailingMatch,
    TransferMatch,
)
from walletgate.policy.names import NATIVE_DECIMALS, chain_name
from walletgate.policy.naming import address_name, amount_text, asset_name, duration_text, measure_text, moment_text
from walletgate.policy.schedule import DAYS
from walletgate.types import NATIVE, ApprovalTerms, Asset


def permit_sentence(policy: Policy, rule: Rule) -> str:
    """What the rule permits, as the rest of a sentence that begins with "may"."""
    return _match(policy, rule.match, wide=False) + _when_it_holds(rule)


def forbid_sentence(policy: Policy, rule: Rule) -> str:
    """What the rule forbids."""
    return _match(policy, rule.match, wide=True) + _when_it_holds(rule)


def approve_sentence(policy: Policy, rule: ApproveRule) -> str:
    """When the rule asks, and whom."""
    terms = rule.terms
    return f"{_when(policy, rule)} ({rule.name!r}: {people_text(terms)}, within {duration_text(terms.within_s)})"


def people_text(terms: ApprovalTerms) -> str:
    """Who must approve, in words."""
    said = f"{terms.quorum} of {', '.join(terms.of) or 'the operators'}"
    if terms.groups:
        between = " and " if terms.every else " or "
        said = between.join(f"{group.quorum} of {', '.join(group.of)}" for group in terms.groups)
        said += ", all different people" if terms.every else ""
    return f"{said}, but not who drafted the policy or gave the grant" if terms.apart else said


def _when(policy: Policy, rule: ApproveRule) -> str:
    match rule.when:
        case AboveAmount() as when:
            amount = measure_text(policy, when.measure, when.asset, when.unit, when.amount)
            window = "a request" if when.window_ms is None else f"any {duration_text(when.window_ms // 1000)}"
            return f"for more than {amount} in {window}"
        case NewRecipient() as when:
            return f"for {_newcomers(policy, when)}"
        case Always():
            return "for every request"
        case match:
            return f"whenever it would {_match(policy, match, wide=True)}"


def cooldown_sentence(policy: Policy, rule: Cooldown) -> str:
    """Whom the rule keeps waiting."""
    return f"pay {_newcomers(policy, rule.who)}"


def _newcomers(policy: Policy, who: NewRecipient) -> str:
    others = "" if who.known == AddressSet() else f", except {_people(policy, who.known)}"
    return f"anybody this wallet has known for less than {duration_text(who.age_ms // 1000)}{others}"


def limit_sentence(policy: Policy, limit: Limit) -> str:
    """The bounds of one limit."""

    def say(amount: int) -> str:
        return measure_text(policy, limit.measure, limit.asset, limit.unit, amount)

    bounds = [] if limit.per_request is None else [f"{say(limit.per_request)} a request"]
    bounds += [f"{say(bound)} in any {duration_text(window_ms // 1000)}" for window_ms, bound in limit.windows]
    if limit.lifetime is not None:
        bounds.append(f"{say(limit.lifetime)} in all")
    if limit.share_bips is not None and limit.asset is not None:
        bounds.append(f"{format_share(limit.share_bips)} of the wallet's {asset_name(policy, limit.asset)} a request")
    match limit.scope:
        case Scope.GRANT:
            scope = ""
        case Scope.WALLET:
            scope = ", over all agents of the wallet"
        case Scope.GROUP:
            scope = ", over all agents of the group"
        case Scope.RECIPIENT:
            scope = f", to each of {_people(policy, limit.only)}"
        case Scope.CONTRACT:
            scope = f", through each of {_people(policy, limit.only)}"
        case _:
            assert_never(limit.scope)
    return ", ".join(bounds) + scope


def _when_it_holds(rule: Rule) -> str:
    until = "" if rule.expires_at is None else f", until {moment_text(rule.expires_at)}"
    return until + ("" if rule.hours is None else f", {_hours(rule.hours)}")


def _hours(hours: Hours) -> str:
    days = ", ".join(DAYS[day] for day in sorted(hours.days))
    start, end = (f"{minute // 60:02}:{minute % 60:02}" for minute in (hours.start, hours.end))
    return f"only on {days} from {start} to {end} ({hours.zone})"


def _match(policy: Policy, match: Match, *, wide: bool) -> str:
    match match:
        case TransferMatch():
            return _transfer(policy, match, wide=wide)
        case CallMatch():
            return _call(policy, match)
        case AllowanceMatch():
            return _allowance(policy, match, wide=wide)
        case NftMatch():
            return _nft(policy, match)
        case SignMatch():
            return _sign(policy, match, wide=wide)
        case _:
            return _spoken(policy, match, wide=wide)


def _spoken(  # noqa: C901, PLR0911 - one arm for each kind of match
    policy: Policy,
    match: RevokeMatch
    | LoginMatch
    | MessageMatch
    | DeployMatch
    | DelegateMatch
    | AdminMatch
    | FeeShareMatch
    | TrailingMatch
    | BlindMatch,
    *,
    wide: bool,
) -> str:
    match match:
        case RevokeMatch():
            return "take back allowances and operators"
        case LoginMatch():
            domains = "any site" if match.domains is None else _quoted(match.domains)
            return f"log in at {domains}{_ttl(match.ttl_max_s, wide=wide)}"
        case MessageMatch():
            if not match.texts and not match.prefixes:
                return "sign any readable text"
            texts = [*map(printable, sorted(match.texts)), *(f"{printable(p)}…" for p in sorted(match.prefixes))]
            return f"sign the text {_quoted(texts)}"
        case DeployMatch():
            hashes = match.init_code_hashes
            return "create any contract" if hashes is None else f"create contracts of {_or(map(to_hex, hashes))}"
        case DelegateMatch():
            chains = ", also on every chain at once" if match.any_chain and not wide else ""
            return f"hand {_or(match.kinds or ['any power'])} to {_people(policy, match.to)}{chains}"
        case AdminMatch():
            where = f"do {_or(match.actions or ['anything administrative'])} on {_places(policy, match.contracts)}"
            return f"{where} in favour of {_people(policy, match.subjects)}"
        case FeeShareMatch():
            share = "a share" if wide else f"up to {format_share(match.bips_max)}"
            return f"give {_people(policy, match.to)} {share} of proceeds"
        case TrailingMatch():
            return f"add up to {match.size_max_bytes} bytes that its functions do not take"
        case BlindMatch():
            where = "" if match.contracts is None else f" towards {_places(policy, match.contracts)}"
            return f"sign BLINDLY what is {_or(match.codes or ['not understood'])}{where}"
        case _:
            assert_never(match)


def _transfer(policy: Policy, match: TransferMatch, *, wide: bool) -> str:
    sender = "" if not match.sender.anyone or wide else ", also out of allowances that others gave to the wallet"
    via = _via(policy, match.via) if not wide else ""
    except_ = "" if match.not_to == AddressSet() else f" except {_people(policy, match.not_to)}"
    return f"pay {_assets(policy, match.assets)} to {_people(policy, match.to)}{except_}{via}{sender}"


def _call(policy: Policy, match: CallMatch) -> str:
    functions = "any function"
    if match.functions is not None:
        functions = _or(
            function.label + ("" if function.where is None else " under conditions")
            for function in match.functions.values()
        )
    spend = f", which may take {_assets(policy, match.spend)}" if match.spend else ""
    to = "" if match.to.anyone or match.to == AddressSet(own=True) else f", for {_people(policy, match.to)}"
    code = ", also as the wallet's own code" if match.delegatecall else ""
    return f"call {functions} on {_places(policy, match.contracts)}{spend}{to}{code}"


def _allowance(policy: Policy, match: AllowanceMatch, *, wide: bool) -> str:
    if wide:
        return f"let {_people(policy, match.spender)} spend {_assets(policy, match.assets)}"
    assets = sorted(match.assets or (), key=lambda asset: (asset.chain_id, asset.address))
    most = "any amount of " + _assets(policy, match.assets)
    if match.most is not None and assets:
        most = "up to " + _or(amount_text(policy, asset, match.most) for asset in assets)
    limits = "" if match.counted else ", which counts against no limit"
    ttl = _ttl(match.ttl_max_s, wide=match.ttl_max_s is None)
    return f"let {_people(policy, match.spender)} spend {most}{ttl}{limits}"


def _nft(policy: Policy, match: NftMatch) -> str:
    where, parts = _places(policy, match.collections), []
    if match.to != AddressSet():
        parts.append(f"give tokens of {where} to {_people(policy, match.to)}")
    if match.operators != AddressSet():
        parts.append(f"let {_people(policy, match.operators)} operate {where}")
    if match.sell_above is not None:
        coins = sorted({asset_name(policy, Asset(chain_id, NATIVE)) for chain_id, _ in match.collections or ()})
        parts.append(
            f"sell tokens of {where} for {format_amount(match.sell_above, NATIVE_DECIMALS)} {_or(coins)} or more"
        )
    return " and ".join(parts) or "nothing"


def _sign(policy: Policy, match: SignMatch, *, wide: bool) -> str:
    types = "anything" if match.primary_types is None else _or(sorted(match.primary_types))
    spend = f", which may take {_assets(policy, match.spend)}" if match.spend else ""
    via = _via(policy, match.via) if not wide else ""
    return f"sign {types} for {_places(policy, match.contracts)}{spend}{via}{_ttl(match.ttl_max_s, wide=wide)}"


def _via(policy: Policy, via: AddressSet) -> str:
    return "" if via == AddressSet() else f", also through {_people(policy, via)}"


def _ttl(ttl_max_s: int | None, *, wide: bool) -> str:
    if wide:
        return ""
    return ", valid without end" if ttl_max_s is None else f", valid for at most {duration_text(ttl_max_s)}"


def _assets(policy: Policy, assets: Iterable[Asset] | None) -> str:
    return "any asset" if assets is None else _or(sorted(asset_name(policy, asset) for asset in assets))


def _people(policy: Policy, people: AddressSet) -> str:
    if people.anyone:
        return "ANYBODY"
    found: list[str] = []
    ends = people.members | {address for _, address in people.pinned}
    groups = {name: entry.members for name, entry in policy.addresses.items()}
    for name, members in {**KNOWN_ADDRESSES, **groups}.items():
        if len(members) > 1 and members <= ends:
            ends, found = ends - members, [*found, name]
    found += [address_name(policy, address) for address in ends]
    return _or([*(["the wallet itself"] if people.own else []), *sorted(found)] or ["nobody"])


def _places(policy: Policy, contracts: Iterable[ContractId] | None) -> str:
    if contracts is None:
        return "any contract"
    names, several = policy.index.address_names, len(policy.chain_ids) > 1
    found = []
    for chain_id, address in contracts:
        asset = policy.index.asset_names.get(Asset(chain_id, address))
        name = names.get(address) or (f"the {asset} contract" if asset else checksum_address(address))
        found.append(f"{name} on {chain_name(chain_id)}" if several else name)
    return _or(sorted(found))


def _quoted(words: Iterable[str]) -> str:
    return _or(f'"{word}"' for word in sorted(words))


def _or(words: Iterable[str]) -> str:
    found = list(words)
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} or {found[-1]}"


def asking_lines(asking: AskingTerms) -> list[str]:
    """How often operators may be asked, in sentences."""

    def said(windows: tuple[tuple[int, int], ...]) -> str:
        return " and ".join(f"{most} in any {duration_text(window_ms // 1000)}" for window_ms, most in windows)

    lines = []
    if asking.windows:
        lines.append(f"Asks a human at most {said(asking.windows)}; what is beyond that is refused.")
    if asking.again_after_ms is not None:
        wait = duration_text(asking.again_after_ms // 1000)
        lines.append(f"What an operator rejected is refused unchanged for {wait}.")
    if asking.freeze_after:
        lines.append(f"Asking more than {said(asking.freeze_after)} freezes the grant.")
    return lines
