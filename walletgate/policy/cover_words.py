"""Which permit rule covers what is signed as text, power handed over, and bytes that are not understood.

All of them only when named: a login by its domain, a delegation by its kind and delegate, an administrative act
by its name, a new contract by its code, and blindness by exactly the kind of it.
"""

from __future__ import annotations

from typing import Final

from walletgate.encoding import printable
from walletgate.policy.cover import Verdict, find_active, rules_of
from walletgate.policy.model import (
    AdminMatch,
    BlindMatch,
    DelegateMatch,
    DeployMatch,
    LoginMatch,
    MessageMatch,
    Rule,
    TrailingMatch,
)
from walletgate.policy.naming import address_name
from walletgate.policy.state import Judging
from walletgate.types import (
    AdminChange,
    Delegation,
    Deployment,
    Login,
    MessageSignature,
    Opaque,
    Reason,
    TrailingBytes,
)

VOTES: Final = "votes"


def cover_login(state: Judging, effect: Login) -> Verdict:
    """A login at a named domain, for its own address, for a short time."""
    denial = Reason(
        "login_not_permitted", f"no rule permits logging in at {printable(effect.domain)}", path=effect.path
    )
    for rule, match in rules_of(state, LoginMatch):
        if match.domains is not None and effect.domain not in match.domains:
            continue
        life = None if effect.expires_at is None else effect.expires_at - state.now_s
        if not state.is_active(rule):
            text = f"{rule.name!r} does not hold at this time"
            denial = Reason("rule_not_active", text, rule.name, path=effect.path)
        elif match.ttl_max_s is not None and (life is None or life > match.ttl_max_s):
            text = "the login has no end" if life is None else f"the login is valid for {life} s"
            denial = Reason("login_too_long", text, rule.name, life, match.ttl_max_s, "s", effect.path)
        else:
            return rule
    return denial


def cover_message(state: Judging, effect: MessageSignature) -> Verdict:
    """A readable text."""

    def fits(rule: Rule) -> bool:
        return isinstance(rule.match, MessageMatch) and says(rule.match, effect.text)

    denial = Reason("message_not_permitted", "no rule permits signing this text", path=effect.path)
    return find_active(state, state.policy.index.kinds.get(MessageMatch, ()), fits, denial)


def says(match: MessageMatch, text: str) -> bool:
    """Whether the text is one of those that `match` speaks of."""
    if not match.texts and not match.prefixes:
        return True
    return text in match.texts or any(text.startswith(prefix) for prefix in match.prefixes)


def cover_power(state: Judging, effect: Delegation | AdminChange | Deployment) -> Verdict:
    """Power handed over, administrative acts, new contracts: only when named."""
    own, path = state.own, effect.path
    if isinstance(effect, Delegation):
        text = f"no rule permits handing {printable(effect.kind)} to {address_name(state.policy, effect.delegate)}"
        denial = Reason("delegation_not_permitted", text, path=path)
        if effect.kind == VOTES and effect.delegate in own and (granted := state.grants_at(path)):
            return granted[0]
        every = effect.chain_id == 0
        rules = [
            rule
            for rule, match in rules_of(state, DelegateMatch)
            if (match.any_chain or not every)
            and effect.kind in (match.kinds or ())
            and match.to.has(effect.delegate, state.case.chain_id, own)
        ]
    elif isinstance(effect, AdminChange):
        contract = (effect.contract.chain_id, effect.contract.address)
        text = f"no rule permits {printable(effect.action)} on {address_name(state.policy, effect.contract.address)}"
        denial = Reason("admin_not_permitted", text, path=path)
        subject = effect.subject
        rules = [
            rule
            for rule, admin in rules_of(state, AdminMatch)
            if (admin.contracts is None or contract in admin.contracts)
            and effect.action in (admin.actions or ())
            and (subject is None or admin.subjects.has(subject, contract[0], own))
        ]
    else:
        denial = Reason("deployment_not_permitted", "no rule permits creating this contract", path=path)
        rules = [
            rule
            for rule, deploy in rules_of(state, DeployMatch)
            if deploy.init_code_hashes is None or effect.init_code_hash in deploy.init_code_hashes
        ]
    return find_active(state, rules, lambda _: True, denial)


def cover_bytes(state: Judging, effect: TrailingBytes | Opaque) -> Verdict:
    """Bytes that are not understood: only within what the policy names exactly."""
    if isinstance(effect, TrailingBytes):
        text = f"{effect.size_bytes} bytes follow the complete arguments"
        denial = Reason("trailing_bytes", text, None, effect.size_bytes, 0, "bytes", effect.path)
        size = effect.size_bytes
        rules = [rule for rule, match in rules_of(state, TrailingMatch) if size <= match.size_max_bytes]
        return find_active(state, rules, lambda _: True, denial)
    target = effect.target
    denial = Reason(effect.code, f"not understood: {printable(effect.detail)}", path=effect.path)
    blind = [
        rule
        for rule, match in rules_of(state, BlindMatch)
        if effect.code in (match.codes or ())
        and (target is None or (state.case.chain_id, target) in (match.contracts or ()))
    ]
    return find_active(state, blind, lambda _: True, denial)
