"""Delegations, administrative acts, new contracts and blindness: only when named exactly."""

import pytest

from walletgate.types import AdminChange, Asset, Delegation, Deployment, Measure, Opaque, TrailingBytes

CODE = b"\x07" * 32


@pytest.fixture
def doing(desk):
    safe = Asset(desk.base, desk.safe)
    return {
        "delegation": Delegation("set_code", desk.acme, desk.base),
        "admin": AdminChange(safe, "upgrade", desk.acme),
        "deployment": Deployment(desk.base, 0, CODE),
        "trailing": TrailingBytes(16),
        "blind": Opaque("unknown_function", "selector 0x12345678", desk.router),
    }


def test_nothing_of_it_is_permitted_by_default(desk, doing):
    assert desk.outcome("", doing["delegation"]) == "deny delegation_not_permitted"
    assert desk.outcome("", doing["admin"]) == "deny admin_not_permitted"
    assert desk.outcome("", doing["deployment"]) == "deny deployment_not_permitted"
    assert desk.outcome("", doing["trailing"]) == "deny nothing_permitted trailing_bytes"
    assert desk.outcome("", doing["blind"]) == "deny unknown_function"


def test_a_delegation_is_named_by_kind_and_delegate(desk, doing):
    body = '[[permit]]\ndelegate = "set_code"\nto = ["acme"]\n'
    assert desk.outcome(body, doing["delegation"]) == "allow"
    assert desk.outcome(body, Delegation("set_code", desk.thief, desk.base)) == "deny delegation_not_permitted"
    assert desk.outcome(body, Delegation("session_key", desk.acme, desk.base)) == "deny delegation_not_permitted"
    assert desk.outcome(body, Delegation("set_code", desk.acme, 0)) == "deny delegation_not_permitted"
    assert desk.outcome(body, Delegation("set_code", desk.acme, 1)) == "deny chain_mismatch"
    assert desk.outcome(body + "any_chain = true\n", Delegation("set_code", desk.acme, 0)) == "allow"


def test_an_administrative_act_is_named_by_contract_act_and_subject(desk, doing):
    body = '[[permit]]\nadmin = "safe"\naction = "upgrade"\nto = ["acme"]\n'
    assert desk.outcome(body, doing["admin"]) == "allow"
    assert (
        desk.outcome(body, AdminChange(Asset(desk.base, desk.safe), "add_owner", desk.acme))
        == "deny admin_not_permitted"
    )
    assert (
        desk.outcome(body, AdminChange(Asset(desk.base, desk.safe), "upgrade", desk.thief))
        == "deny admin_not_permitted"
    )
    assert (
        desk.outcome(body, AdminChange(Asset(desk.base, desk.thief), "upgrade", desk.acme))
        == "deny admin_not_permitted"
    )
    assert desk.outcome(body, AdminChange(Asset(desk.base, desk.safe), "upgrade")) == "allow"


def test_a_new_contract_is_named_by_its_code_and_its_value_counts(desk, doing):
    body = f'[[permit]]\ndeploy = "0x{CODE.hex()}"\n[[limits]]\nasset = "ETH"\nper_request = "1"\n'
    assert desk.outcome(body, doing["deployment"]) == "allow"
    assert desk.outcome(body, Deployment(desk.base, 0, b"\x08" * 32)) == "deny deployment_not_permitted"
    assert desk.outcome(body, Deployment(desk.base, 10**18, CODE)) == "allow"
    assert desk.outcome(body, Deployment(desk.base, 10**18 + 1, CODE)) == "deny over_per_request"
    assert desk.decide(body, Deployment(desk.base, 5, CODE)).bookings[0].measure is Measure.AMOUNT
    assert desk.outcome('[[permit]]\ndeploy = "*"\n', Deployment(desk.base, 0, b"\x08" * 32)) == "allow"


@pytest.mark.parametrize(("size", "expected"), [(15, "allow"), (16, "allow"), (17, "deny trailing_bytes")])
def test_trailing_bytes_are_bounded(desk, size, expected):
    body = '[[permit]]\ntrailing_bytes = 16\n[[permit]]\ntransfer = "USDC"\nto = "acme"\n'
    assert desk.outcome(body, desk.pay(1), TrailingBytes(size)) == expected


def test_blindness_is_named_by_its_kind_and_target(desk, doing):
    body = '[[permit]]\nblind = "unknown_function"\ncontract = "router"\n'
    assert desk.outcome(body, doing["blind"]) == "allow"
    assert desk.outcome(body, Opaque("unknown_function", "x", desk.thief)) == "deny unknown_function"
    assert desk.outcome(body, Opaque("noncanonical_abi", "x", desk.router)) == "deny noncanonical_abi"
    assert desk.outcome('[[permit]]\nblind = "unknown_function"\n', doing["blind"]) == "deny unknown_function"
    assert desk.outcome('[[permit]]\nblind = "blind_hash"\n', Opaque("blind_hash", "x")) == "allow"
    assert desk.outcome('[[permit]]\nblind = "blind_hash"\n', Opaque("blind_message", "x")) == "deny blind_message"
