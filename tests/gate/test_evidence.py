"""One file that proves one request: to us, and to a verifier that shares no code with us."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coincurve
import pytest
from cryptography.exceptions import InvalidSignature
from eth_account import Account

from tests.factories import ALICE, BOB, MALLORY, ORIGIN, POLICY, Bench, make_gate, payment
from walletgate.audit.entry import encode_entry
from walletgate.audit.merkle import leaf_hash, nodes_of, root_of
from walletgate.audit.note import Checkpoint, SigningKey, sign_checkpoint
from walletgate.audit.proof import build_proof, open_proof
from walletgate.encoding import keccak256, to_hex
from walletgate.errors import AuditError
from walletgate.gate import ApprovalWord, sign_word
from walletgate.gate.evidence import Statement, check_evidence, make_evidence
from walletgate.signers.keystore import address_of
from walletgate.types import Hash32

KEY = SigningKey(ORIGIN, b"\x07" * 32)
VKEY = str(KEY.verifying_key)
TALKATIVE = (
    POLICY.replace("quorum = 1", "quorum = 2")
    + """
[[permit]]
name = "say something"
message = "*"
"""
)
SPEC = importlib.util.spec_from_file_location("verify_proof", Path(__file__).parents[2] / "examples/verify_proof.py")
assert SPEC is not None and SPEC.loader is not None
INDEPENDENT = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(INDEPENDENT)


def note_of(bench: Bench) -> str:
    store = bench.store
    return sign_checkpoint(Checkpoint(ORIGIN, store.log_size, Hash32(store.log_root())), [KEY])


def evidence(bench: Bench, request: str) -> bytes:
    return make_evidence(bench.store, request, note=note_of(bench), first=KEY.verifying_key)


def proven(data: bytes) -> list[Statement]:
    return check_evidence(open_proof(data, trusted=[KEY.verifying_key]))


@pytest.fixture(scope="module")
def proofs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A proof of each kind of story."""

    async def work() -> dict[str, bytes]:
        async with make_gate(tmp_path_factory.mktemp("evidence"), policy=TALKATIVE) as bench:
            stories = {
                "allowed": await bench.pay(5, memo="for the \u202ecat", expect={"asset": "USDC", "amount": "5"}),
                "denied": await bench.pay(51),
                "rejected": await bench.pay(21),
                "approved": await bench.pay(30),
                "waiting": await bench.pay(22),
                "said": await bench.ask({"kind": "message", "payload": {"data": to_hex(b"hello")}}),
                "legacy": await bench.ask({"payload": {**payment(1), "gasPrice": hex(2 * 10**9)}}),
            }
            await bench.approve(stories["rejected"], approve=False)
            await bench.approve(stories["approved"])
            await bench.approve(stories["approved"], BOB)
            await bench.settle()
            return {name: evidence(bench, request.id) for name, request in stories.items()}

    return asyncio.run(work())


STORIES = {
    "allowed": ["shopper asked for eth_sendTransaction", "it pays 5 USDC to acme", "the decision was: allow",
                "because", "signed exactly this: transaction 0x", "transaction confirmed"],
    "denied": ["it pays 51 USDC to acme", "the decision was: deny", "51", "50"],
    "rejected": ["the decision was: require approval", "alice (0x", "rejected exactly this, by signature"],
    "approved": ["(rule large)", "alice (0x", "bob (0x", "approved exactly this", "signed exactly this: transaction"],
    "waiting": ["the decision was: require approval"],
    "said": ["signed exactly this: message"],
    "legacy": ["signed exactly this: transaction"],
}  # fmt: skip


@pytest.mark.parametrize("story", STORIES)
def test_a_proof_tells_the_story_and_names_the_entry(proofs: dict[str, bytes], story: str) -> None:
    statements = proven(proofs[story])
    told = "\n".join(statement.text for statement in statements)
    for words in STORIES[story]:
        assert words in told
    assert statements[0].seq is None
    assert all(statement.seq is not None for statement in statements[1:])
    assert [s.seq for s in statements[2:]] == sorted(s.seq for s in statements[2:] if s.seq is not None)


@pytest.mark.parametrize("story", STORIES)
def test_a_verifier_that_is_not_ours_agrees(proofs: dict[str, bytes], story: str) -> None:
    lines = "\n".join(INDEPENDENT.verify(json.loads(proofs[story]), VKEY))
    for words in STORIES[story]:
        if words.startswith(("it ", "because")):
            assert words in lines
    assert "not proven: that these are all entries" in lines
    if story == "approved":
        for name, secret in (("alice", ALICE), ("bob", BOB)):
            assert f"signed by {name} {Account.from_key(secret).address.lower()}" in lines


def test_a_proof_says_what_it_does_not_prove(proofs: dict[str, bytes]) -> None:
    proof = open_proof(proofs["allowed"], trusted=[KEY.verifying_key])
    assert any("all entries" in text for text in proof.unproven)
    assert any("own clock" in text for text in proof.unproven)
    assert proof.unproven[-1].endswith("confirmed")
    assert set(proof.bound) == {"payload", "decision", "policy", "transaction"}


def test_the_policy_is_shown_as_people_read_it(proofs: dict[str, bytes]) -> None:
    assert json.loads(proofs["allowed"])["shown"]["policy"] == TALKATIVE


def edits(body: dict[str, Any]) -> list[tuple[str, Callable[[dict[str, Any]], object]]]:
    """Ways to lie in a proof: each item of what is shown, each entry, each hash, the checkpoint."""
    lies: list[tuple[str, Callable[[dict[str, Any]], object]]] = []
    shown = {name: value for name, value in body["shown"].items() if name != "private"}
    lies += [
        (f"private {part}", lambda b, p=part: b["shown"]["private"]["memo"].__setitem__(p, "00"))
        for part in (("salt", "text") if "private" in body["shown"] else ())
    ]
    for name, value in shown.items():
        lies.append((f"shown {name}", lambda b, n=name, v=value: b["shown"].__setitem__(n, v[:-2] + _other(v[-2:]))))
    for at, item in enumerate(body["entries"]):
        text = item["entry"]
        lies.append(
            (f"entry {at}", lambda b, a=at, t=text: b["entries"][a].__setitem__("entry", t.replace('"v":1', '"v":2')))
        )
        lies.append(
            (
                f"agent {at}",
                lambda b, a=at, t=text: b["entries"][a].__setitem__("entry", t.replace('"ts_ms":1', '"ts_ms":2')),
            )
        )
        lies.append((f"place {at}", lambda b, a=at: b["entries"][a].__setitem__("seq", b["entries"][a]["seq"] + 1)))
        lies += [
            (f"hash {at} {place}", lambda b, a=at, p=place: b["entries"][a]["proof"].pop(p))
            for place in range(len(item["proof"]))
        ]
    lies.append(("checkpoint", lambda b: b.__setitem__("checkpoint", b["checkpoint"].replace("\n", "\n1", 1))))
    lies.append(("unbound", lambda b: b["shown"].__setitem__("signature", "0x" + "11" * 65)))
    return lies


def _other(text: str) -> str:
    return "00" if text != "00" else "11"


@pytest.mark.parametrize("story", ["allowed", "approved", "rejected"])
def test_no_part_of_a_proof_can_be_changed(proofs: dict[str, bytes], story: str) -> None:
    for name, lie in edits(json.loads(proofs[story])):
        body = json.loads(proofs[story])
        lie(body)
        data = canonical_line(body)
        with pytest.raises(AuditError) as caught:
            proven(data)
        codes = {"claim_false", "claim_unbound", "proof_invalid", "proof_malformed", "note_forged", "entry_invalid",
                 "entry_not_canonical"}  # fmt: skip
        assert caught.value.code in codes, name
        if not name.startswith("unbound"):
            with pytest.raises((SystemExit, InvalidSignature, ValueError, KeyError)):
                INDEPENDENT.verify(json.loads(data), VKEY)


def canonical_line(body: Any) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def test_a_proof_under_another_key_is_not_one(proofs: dict[str, bytes]) -> None:
    other = SigningKey(ORIGIN, b"\x08" * 32)
    with pytest.raises(AuditError) as caught:
        open_proof(proofs["allowed"], trusted=[other.verifying_key])
    assert caught.value.code == "note_unsigned"
    with pytest.raises(SystemExit):
        INDEPENDENT.verify(json.loads(proofs["allowed"]), str(other.verifying_key))


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"x", b'{"format":"walletgate-proof/9"}', b'{"format":"walletgate-proof/1"}']
)
def test_what_is_no_proof_is_refused(data: bytes) -> None:
    with pytest.raises(AuditError) as caught:
        open_proof(data, trusted=[KEY.verifying_key])
    assert caught.value.code == "proof_malformed"


def test_spaces_in_a_proof_are_refused(proofs: dict[str, bytes]) -> None:
    with pytest.raises(AuditError) as caught:
        open_proof(json.dumps(json.loads(proofs["allowed"])).encode(), trusted=[KEY.verifying_key])
    assert caught.value.code == "proof_malformed"


def test_a_request_that_is_in_no_entry_has_no_proof(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            with pytest.raises(AuditError) as caught:
                evidence(bench, "req_none")
            assert caught.value.code == "entry_unknown"

    asyncio.run(work())


def lying_log(entries: list[dict[str, Any]], shown: dict[str, Any]) -> bytes:
    """A proof from a log whose own gate lied when it wrote: everything is included and signed."""
    texts = [encode_entry({"v": 1, "log": ORIGIN, "seq": n, "ts_ms": n, **body}) for n, body in enumerate(entries)]
    leaves = [leaf_hash(text) for text in texts]
    checkpoint = Checkpoint(ORIGIN, len(texts), root_of(leaves))
    return build_proof(
        request="req_1", checkpoint=checkpoint, note=sign_checkpoint(checkpoint, [KEY]), links=[],
        entries=list(enumerate(texts)), read=nodes_of(leaves), shown=shown, unproven=[],
    )  # fmt: skip


@pytest.mark.parametrize("change", ["signer", "effects", "digest", "expires", "high s"])
def test_an_approval_that_nobody_signed_is_found_even_if_the_gate_wrote_it(change: str) -> None:
    words = ["pays"]
    effects = to_hex(keccak256(b"[]"))
    decision = json.dumps(
        {"approvals": [], "effects": [], "effects_digest": effects, "outcome": "allow", "policy": "0x" + "aa" * 32,
         "reasons": [], "words": words},
        sort_keys=True, separators=(",", ":"),
    )  # fmt: skip
    first = {
        "kind": "request_awaiting_approval", "request": "req_1", "digest": "0x" + "dd" * 32, "policy": "0x" + "aa" * 32,
        "decision": "allow", "decision_digest": to_hex(keccak256(decision.encode())),
    }  # fmt: skip
    word = ApprovalWord(
        "req_1", True, Hash32(b"\xdd" * 32), Hash32(bytes.fromhex(effects[2:])), Hash32(b"\xaa" * 32), 99
    )
    signature = sign_word(word, MALLORY if change == "signer" else ALICE, gate=ORIGIN)
    given = {
        "kind": "approval_given", "request": "req_1", "operator": "alice", "digest": first["digest"],
        "effects_digest": effects, "policy": first["policy"], "expires": 99, "signature": to_hex(signature),
        "address": to_hex(address_of(coincurve.PrivateKey(ALICE).public_key)),
    }  # fmt: skip
    assert proven(lying_log([first, {**given}], {"decision": decision})) if change != "signer" else True
    lie: dict[str, Any] = {
        "signer": {}, "effects": {"effects_digest": "0x" + "ee" * 32}, "digest": {"digest": "0x" + "cc" * 32},
        "expires": {"expires": 100}, "high s": {"signature": to_hex(signature[:32] + b"\xff" * 32 + signature[64:])},
    }[change]  # fmt: skip
    with pytest.raises(AuditError) as caught:
        proven(lying_log([first, {**given, **lie}], {"decision": decision}))
    assert caught.value.code in ("claim_false", "claim_unbound")
