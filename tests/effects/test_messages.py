"""Messages: logins to the letter, hashes as blind, text as text."""

import pytest

from walletgate.effects import decode
from walletgate.encoding import checksum_address, rlp_encode
from walletgate.types import Login, MessageSignature, TextMessage

SIGNER = bytes.fromhex("40fe73b698b1b21dc2f861326b4d0f41ecca8245")


@pytest.fixture
def say(context):
    ctx = context(chain_id=8453)
    return lambda data: decode(TextMessage(SIGNER, data if isinstance(data, bytes) else data.encode()), ctx)


def login(**changes):
    parts = {"head": "app.example.com", "address": checksum_address(SIGNER), "statement": "Sign in.\n", "uri": "https://app.example.com/login",
             "version": "1", "chain": "8453", "nonce": "k3Jd82HS01", "issued": "2026-01-01T00:00:00Z", "tail": ""} | changes  # fmt: skip
    return (
        "{head} wants you to sign in with your Ethereum account:\n{address}\n\n{statement}\nURI: {uri}\nVersion: {version}\n"
        "Chain ID: {chain}\nNonce: {nonce}\nIssued At: {issued}{tail}"
    ).format(**parts)


def test_a_login_is_read_by_its_grammar(say):
    (found,) = say(
        login(
            tail="\nExpiration Time: 2026-01-01T00:30:00Z\nNot Before: 2026-01-01T00:00:00.500Z\nRequest ID: x1\nResources:\n- https://a.example/b"
        )
    )
    assert found == Login("app.example.com", "https://app.example.com/login", 8453, "Sign in.", 1_767_227_400)


@pytest.mark.parametrize(
    "changes",
    [{"statement": ""}, {"head": "https://app.example.com"}, {"head": "app.example.com:8443", "uri": "https://app.example.com:8443"}, {"head": "localhost", "uri": "http://localhost/"}],
)  # fmt: skip
def test_every_honest_spelling_is_a_login(say, changes):
    assert isinstance(say(login(**changes))[0], Login)


@pytest.mark.parametrize(
    "changes",
    [
        {"head": "app.example.com@evil.example"}, {"head": "App.Example.com"}, {"head": "\u0430pp.example.com"}, {"head": "app.example.com."},
        {"head": "http://app.example.com"}, {"head": "app.example.com/x"}, {"head": " app.example.com"}, {"head": "app.example.com\u200b"},
        {"uri": "https://evil.example/login"}, {"uri": "https://app.example.com@evil.example/"}, {"uri": "javascript:alert(1)"},
        {"address": checksum_address(SIGNER).lower()}, {"address": checksum_address(b"\x11" * 20)},
        {"statement": "Sign in.\nURI: https://x\n"}, {"statement": "Ünïcode\n"}, {"statement": "Sign in.\n\n"},
        {"version": "2"}, {"chain": "0"}, {"chain": "0x1"}, {"nonce": "short"}, {"nonce": "with space1"},
        {"issued": "yesterday"}, {"issued": "2026-13-01T00:00:00Z"}, {"tail": "\n"}, {"tail": "\nExpiration Time: never"},
        {"tail": "\nExpiration Time: 2026-02-30T00:00:00Z"}, {"tail": "\nResources:\n- https://a\n- "}, {"tail": "\nExtra: x"},
        {"tail": "\nNot Before: 2026-01-01T00:00:00Z\nExpiration Time: 2026-01-01T00:00:00Z"},
    ],
)  # fmt: skip
def test_what_looks_like_a_login_and_is_none_is_opaque(say, codes, changes):
    assert codes(say(login(**changes))) in (["malformed_login"], ["blind_message"])


def test_logins_in_disguise_are_still_logins(say, codes):
    assert codes(say(login().replace("\n", "\r\n"))) == ["malformed_login"]
    assert codes(say("Hello!\n" + login())) == ["malformed_login"]
    assert codes(say(login().upper())) == ["malformed_login"]


def test_a_login_for_another_chain_is_opaque(say, codes):
    assert codes(say(login(chain="1"))) == ["chain_mismatch"]


def test_capabilities_in_a_login_are_opaque(say, codes):
    found = say(login(tail="\nResources:\n- urn:recap:eyJhdHQiOnt9fQ"))
    assert codes(found) == ["recap"]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x8f" * 32, "blind_hash"),
        (b"\x8f" * 20, "blind_hash"),
        ("0x" + "8f" * 32, "blind_hash"),
        ("8F" * 32 + "\n", "blind_hash"),
        (b"\x19\x01" + b"\x8f" * 64, "blind_typed_data"),
        (b"\x19\x01" + b"a" * 64, "blind_typed_data"),
        (rlp_encode([b"\1", b"\2" * 20, b""]), "blind_transaction"),
        (b"\x02" + rlp_encode([b"\1", b"\2" * 80]), "blind_transaction"),
        (b"\xff\xfe", "blind_message"),
        ("pay\x1b[2K", "blind_message"),
        ("pay \u202eevil", "blind_message"),
        ("zero\u2066width", "blind_message"),
        ("Access zkSync account.\n\nOnly sign this message for a trusted client!", "key_derivation"),
    ],
)
def test_what_nobody_can_read_is_blind(say, codes, data, code):
    assert codes(say(data)) == [code]


@pytest.mark.parametrize(
    "text", ["Hello", "two\nlines\tand a tab", "", "Grüße 👩‍🚀", "exactly thirty-two characters ok"]
)
def test_plain_text_is_a_message(say, text):
    assert say(text) == (MessageSignature(text),)
