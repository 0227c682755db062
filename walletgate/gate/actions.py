"""What operators can command, each in two steps: how it weighs, and how it is done.

*Weighing* says, before anything happens, what would change, in words, and whether it loosens anything. What only
tightens (freezing, revoking, removing, a policy that `compare` proves to be tighter, a higher quorum) is done at once
on one operator's word; everything that loosens needs the quorum. What cannot be proven to tighten counts as loosening.

*Preparing* checks the command against the gate as it is and returns what to write in the transaction. What must hold
for the very next signature, a freeze or a revocation, holds from there on, before the transaction is written.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from walletgate.audit.entry import Json, Kind
from walletgate.encoding import checksum_address, parse_address, printable, to_hex
from walletgate.errors import ConflictError, InvalidRequestError
from walletgate.gate.drafts import end_drafts_about
from walletgate.gate.gate import token_hash
from walletgate.gate.log_acts import redact, rotate_log_key, weigh_redaction, weigh_rotation
from walletgate.gate.orders import Act, Action, Answer, Body, By, Change
from walletgate.gate.standstill import end_waiting_of, freeze_scope, put_freeze
from walletgate.policy import Policy, load, show
from walletgate.policy.compare import Comparison, Direction, compare, comparison_lines, named_lines
from walletgate.store import (
    APPROVER,
    POLICY_MAKER,
    ROLES,
    Freeze,
    Grant,
    Operator,
    PolicyText,
    Version,
    Wallet,
    Writer,
)  # fmt: skip

if TYPE_CHECKING:
    from walletgate.gate.gate import Gate

QUORUM_MAX: Final = 64
QUORUM: Final = "quorum"
"""The setting that holds how many policy-makers must agree before anything is loosened."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


def quorum_of(gate: Gate) -> int:
    """How many policy-makers must agree before anything is loosened."""
    return int(gate.store.authority.setting(QUORUM, "1"))


async def weigh(gate: Gate, action: Action, body: Body) -> Change:
    """What the command would change; comparing policies takes a while, and is done beside the gate's work.

    Raises:
        InvalidRequestError: the payload makes no sense. ConfigError: its policy does not.
    """
    if action.weigh is not None:
        return action.weigh(gate, body)
    grant, new = _grant(gate, body), load(str(body.get("policy", "")), source="policy")
    old = gate.state.policies[grant.policy]
    return _policy_change(grant, old, new, await asyncio.to_thread(compare, old, new))


# --- freezing ----------------------------------------------------------------------------------------


def _weigh_freeze(gate: Gate, body: Body) -> Change:
    return Change(False, (f"freeze {freeze_scope(gate, body.get('scope'))}",))


def _freeze(gate: Gate, by: By, body: Body) -> Act:
    scope, reason = freeze_scope(gate, body.get("scope")), printable(str(body.get("reason", "")), length_max=200)
    gate.state.freezes[scope] = Freeze(scope, by.operator, reason, gate.now_ms())

    def act(tx: Writer) -> Answer:
        ended = put_freeze(gate, tx, scope, by.said, reason)
        return {"scope": scope, "ended": ended}

    return act


def _weigh_unfreeze(gate: Gate, body: Body) -> Change:
    freeze = _freeze_in_force(gate, body)
    why = f": {freeze.reason}" if freeze.reason else ""
    return Change(True, (f"unfreeze {freeze.scope}, which {freeze.operator} froze{why}",))


def _unfreeze(gate: Gate, by: By, body: Body) -> Act:
    scope = _freeze_in_force(gate, body).scope

    def act(tx: Writer) -> Answer:
        tx.lift_freeze(scope)
        tx.entry(Kind.UNFROZEN, {"scope": scope, **by.said})
        return {"scope": scope}

    return act


def _freeze_in_force(gate: Gate, body: Body) -> Freeze:
    scope = freeze_scope(gate, body.get("scope"), known=False)
    if scope not in gate.state.freezes:
        raise ConflictError(f"{scope} is not frozen", code="not_frozen")
    return gate.state.freezes[scope]


# --- operators ---------------------------------------------------------------------------------------


def _weigh_add_operator(_gate: Gate, body: Body) -> Change:
    address = checksum_address(parse_address(body.get("address"), where="address"))
    return Change(True, (f"add operator {_name(body, 'name')}, {address}, as {', '.join(_roles(body))}",))


def _add_operator(gate: Gate, by: By, body: Body) -> Act:
    name, address = _name(body, "name"), parse_address(body.get("address"), where="address")
    if name in gate.state.operators:
        raise ConflictError(f"there was an operator {name} before; names are not used again", code="name_taken")
    if gate.state.operator_at(address) is not None or address in gate.state.wallets:
        raise ConflictError("this address is an operator's or a wallet's already", code="address_taken")
    roles = ROLES if not gate.state.operators else _roles(body)

    def act(tx: Writer) -> Answer:
        tx.add_operator(Operator(name, address, tx.now_ms, roles=roles))
        tx.entry(
            Kind.OPERATOR_ADDED, {"name": name, "address": to_hex(address), "roles": list(roles), **by.said}
        )  # fmt: skip
        return {"name": name, "address": checksum_address(address), "roles": list(roles)}

    return act


def _weigh_roles(gate: Gate, body: Body) -> Change:
    operator, roles = _operator(gate, body), _roles(body)
    was, now = ", ".join(operator.roles), ", ".join(roles)
    return Change(not set(roles) <= set(operator.roles), (f"operator {operator.name}: {was} becomes {now}",))


def _set_roles(gate: Gate, by: By, body: Body) -> Act:
    operator, roles = _operator(gate, body), _roles(body)
    _check_makers(gate, replace(operator, roles=roles))

    def act(tx: Writer) -> Answer:
        tx.authority.set_roles(operator.name, roles)
        before: list[Json] = list(operator.roles)
        tx.entry(Kind.OPERATOR_CHANGED, {"name": operator.name, "before": before, "roles": list(roles), **by.said})
        return {"name": operator.name, "roles": list(roles)}

    return act


def _weigh_remove_operator(gate: Gate, body: Body) -> Change:
    return Change(False, (f"remove operator {_operator(gate, body).name}",))


def _remove_operator(gate: Gate, by: By, body: Body) -> Act:
    operator = _operator(gate, body)
    _check_makers(gate, replace(operator, removed_ms=gate.now_ms()))

    def act(tx: Writer) -> Answer:
        tx.remove_operator(operator.name)
        tx.entry(Kind.OPERATOR_REMOVED, {"name": operator.name, **by.said})
        return {"name": operator.name}

    return act


def _check_makers(gate: Gate, changed: Operator) -> None:
    """Refuses what would leave fewer policy-makers than must agree: nothing could ever be loosened again."""
    left = sum(each.has(POLICY_MAKER) for each in {**gate.state.operators, changed.name: changed}.values())
    if left == 0:
        raise ConflictError("the last policy-maker cannot be removed", code="last_operator")
    if left < quorum_of(gate):
        raise ConflictError(f"{left} policy-makers could not meet the quorum of {quorum_of(gate)}",
                            code="quorum_unreachable")  # fmt: skip


def _weigh_quorum(gate: Gate, body: Body) -> Change:
    before, after = quorum_of(gate), _quorum(body)
    return Change(after < before, (f"the quorum of policy-makers goes from {before} to {after}",))


def _set_quorum(gate: Gate, by: By, body: Body) -> Act:
    before, after = quorum_of(gate), _quorum(body)
    makers = sum(each.has(POLICY_MAKER) for each in gate.state.operators.values())
    if after > makers:
        raise ConflictError(f"there are only {makers} policy-makers", code="quorum_unreachable")

    def act(tx: Writer) -> Answer:
        tx.authority.set_setting(QUORUM, str(after))
        tx.entry(Kind.QUORUM_CHANGED, {"before": before, "after": after, **by.said})
        return {"quorum": after}

    return act


# --- wallets and grants ------------------------------------------------------------------------------


def _weigh_add_wallet(_gate: Gate, body: Body) -> Change:
    return Change(False, (f"add wallet {_name(body, 'name')}, which no agent may use yet",))


def _add_wallet(gate: Gate, by: By, body: Body) -> Act:
    name, address = _name(body, "name"), parse_address(body.get("address"), where="address")
    keystore = str(body.get("keystore", ""))
    if any(wallet.name == name or wallet.address == address for wallet in gate.state.wallets.values()):
        raise ConflictError(f"there is a wallet {name} or with this address already", code="name_taken")
    if gate.state.operator_at(address) is not None:
        raise ConflictError("this address is an operator's", code="address_taken")

    def act(tx: Writer) -> Answer:
        tx.add_wallet(Wallet(name, address, keystore, tx.now_ms))
        tx.entry(Kind.WALLET_ADDED, {"name": name, "address": to_hex(address), **by.said})
        return {"name": name, "address": checksum_address(address)}

    return act


def _weigh_grant(gate: Gate, body: Body) -> Change:
    policy = load(str(body.get("policy", "")), source="policy")
    agent, wallet = _name(body, "agent"), _wallet(gate, body)
    whose = f"agent {agent} may use wallet {wallet.name}, {checksum_address(wallet.address)}"
    span = "until it is revoked" if body.get("lifetime_s") is None else f"for {_lifetime_s(body)} s"
    return Change(True, (f"{whose}, {span}, under:", *show(policy), *named_lines(None, policy)), after=policy.hash)


def _create_grant(gate: Gate, by: By, body: Body) -> Act:
    agent, wallet, lifetime_s = _name(body, "agent"), _wallet(gate, body), _lifetime_s(body)
    policy = load(str(body.get("policy", "")), source="policy")
    team = None if body.get("team") is None else _name(body, "team")
    token, grant_id = f"wg_grant_{secrets.token_urlsafe(32)}", f"grant_{secrets.token_hex(6)}"

    def act(tx: Writer) -> Answer:
        expires_ms = None if lifetime_s is None else tx.now_ms + lifetime_s * 1000
        tx.add_policy(PolicyText(policy.hash, policy.name, policy.text, tx.now_ms))
        tx.add_grant(
            Grant(grant_id, agent, team, wallet.address, policy.hash, token_hash(token), tx.now_ms, expires_ms)
        )
        tx.authority.add_version(Version(grant_id, 1, policy.hash, by.operator, by.draft, tx.now_ms))
        body: dict[str, Json] = {"wallet": to_hex(wallet.address), "policy": to_hex(policy.hash)}
        tx.entry(
            Kind.GRANT_CREATED, {"grant": grant_id, "agent": agent, "expires_ms": expires_ms, **body, **by.said}
        )  # fmt: skip
        return {"grant": grant_id, "agent": agent, "token": token, "address": checksum_address(wallet.address)}

    return act


def _weigh_revoke(gate: Gate, body: Body) -> Change:
    grant = _grant(gate, body)
    return Change(False, (f"revoke {grant.id} of agent {grant.agent}",), about=grant.id)


def _revoke_grant(gate: Gate, by: By, body: Body) -> Act:
    grant = _grant(gate, body)
    gate.state.put_grant(replace(grant, revoked_ms=gate.now_ms()))

    def act(tx: Writer) -> Answer:
        tx.revoke_grant(grant.id)
        tx.entry(Kind.GRANT_REVOKED, {"grant": grant.id, "agent": grant.agent, **by.said})
        end_waiting_of(gate, tx, grant, "grant_revoked")
        end_drafts_about(gate, tx, grant.id, but=by.draft)
        return {"grant": grant.id}

    return act


def _policy_change(grant: Grant, old: Policy, new: Policy, comparison: Comparison) -> Change:
    """What putting a grant under another policy comes to."""
    loosens = comparison.direction not in (Direction.SAME, Direction.TIGHTER)
    head = f"put {grant.id} of agent {grant.agent} under {new.name}, {to_hex(new.hash)}"
    lines = (head, *comparison_lines(comparison), *named_lines(old, new))
    return Change(loosens, lines, grant.id, grant.policy, new.hash)


def _apply_policy(gate: Gate, by: By, body: Body) -> Act:
    grant = _grant(gate, body)
    policy = load(str(body.get("policy", "")), source="policy")
    if body.get("before") not in (None, to_hex(grant.policy)):
        raise ConflictError("the grant is under another policy by now: look again", code="policy_changed")

    versions = gate.store.authority.versions(grant.id)
    first = Version(grant.id, 1, grant.policy, "", None, grant.created_ms)

    def act(tx: Writer) -> Answer:
        tx.add_policy(PolicyText(policy.hash, policy.name, policy.text, tx.now_ms))
        tx.set_grant_policy(grant.id, policy.hash)
        if not versions:
            tx.authority.add_version(first)
        tx.authority.add_version(
            Version(grant.id, (versions or [first])[-1].number + 1, policy.hash, by.operator, by.draft, tx.now_ms)
        )  # fmt: skip
        changed: dict[str, Json] = {"before": to_hex(grant.policy), "after": to_hex(policy.hash)}
        tx.entry(Kind.POLICY_CHANGED, {"grant": grant.id, **changed, **by.said})
        if policy.hash != grant.policy:
            end_waiting_of(gate, tx, grant, "policy_changed")
            end_drafts_about(gate, tx, grant.id, but=by.draft)
        return {"grant": grant.id, "policy": to_hex(policy.hash)}

    return act


ACTIONS: Final[Mapping[str, Action]] = {
    "freeze": Action((APPROVER, POLICY_MAKER), _weigh_freeze, _freeze),
    "unfreeze": Action((POLICY_MAKER,), _weigh_unfreeze, _unfreeze),
    "operator.add": Action((POLICY_MAKER,), _weigh_add_operator, _add_operator),
    "operator.remove": Action((POLICY_MAKER,), _weigh_remove_operator, _remove_operator),
    "operator.roles": Action((POLICY_MAKER,), _weigh_roles, _set_roles),
    "quorum.set": Action((POLICY_MAKER,), _weigh_quorum, _set_quorum),
    "wallet.add": Action((POLICY_MAKER,), _weigh_add_wallet, _add_wallet),
    "grant.create": Action((POLICY_MAKER,), _weigh_grant, _create_grant),
    "grant.revoke": Action((POLICY_MAKER,), _weigh_revoke, _revoke_grant),
    "policy.apply": Action((POLICY_MAKER,), None, _apply_policy),
    "request.redact": Action((POLICY_MAKER,), weigh_redaction, redact),
    "log.rotate_key": Action((POLICY_MAKER,), weigh_rotation, rotate_log_key),
}


# --- what payloads hold ------------------------------------------------------------------------------


def _name(body: Body, key: str) -> str:
    name = body.get(key)
    if not isinstance(name, str) or not _NAME.match(name):
        raise InvalidRequestError(f"{key} must be 1 to 64 letters, digits, dots, dashes", code="name_invalid")
    return name


def _roles(body: Body) -> tuple[str, ...]:
    roles = body.get("roles", [APPROVER])
    if not isinstance(roles, list) or not roles or not all(role in ROLES for role in roles):
        raise InvalidRequestError(f"roles are some of {', '.join(ROLES)}", code="role_unknown")
    return tuple(sorted(set(roles)))


def _quorum(body: Body) -> int:
    number = body.get("quorum")
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= QUORUM_MAX:
        raise InvalidRequestError(f"a quorum is a number from 1 to {QUORUM_MAX}", code="payload_invalid")
    return number


def _lifetime_s(body: Body) -> int | None:
    lifetime_s = body.get("lifetime_s")
    is_number = isinstance(lifetime_s, int) and not isinstance(lifetime_s, bool)
    if lifetime_s is not None and not (is_number and 0 < lifetime_s <= 10**9):
        raise InvalidRequestError("lifetime_s must be a positive number of seconds", code="payload_invalid")
    return lifetime_s


def _wallet(gate: Gate, body: Body) -> Wallet:
    name = _name(body, "wallet")
    wallet = next((w for w in gate.state.wallets.values() if w.name == name), None)
    if wallet is None:
        raise InvalidRequestError(f"there is no wallet {name}", code="wallet_unknown")
    return wallet


def _operator(gate: Gate, body: Body) -> Operator:
    name = _name(body, "name")
    known = gate.state.operators.get(name)
    if known is None or known.removed_ms is not None:
        raise ConflictError(f"there is no operator {name}", code="operator_unknown")
    return known


def _grant(gate: Gate, body: Body) -> Grant:
    """A grant in force, by its id or, if there is only one, by its agent's name."""
    wanted = _name(body, "grant")
    found = [g for g in gate.state.grants.values() if wanted in (g.id, g.agent) and g.revoked_ms is None]
    if len(found) != 1:
        problem = "there is no grant" if not found else "more than one grant is called"
        raise InvalidRequestError(f"{problem} {wanted}", code="grant_unknown")
    return found[0]
