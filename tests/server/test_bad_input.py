"""Whatever is malformed, ambiguous or not canonical: one stable code on both doors, an entry, and no signature."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import rlp

from tests.endpoints import Endpoints, make_endpoints
from tests.factories import ACME, OTHER, SECRET, TOKEN, USDC, WALLET, payment
from tests.server.test_node import permit
from walletgate.encoding import checksum_address, to_hex
from walletgate.server.wire import BODY_SIZE_BYTES_MAX

MINE, PAYEE = checksum_address(WALLET), checksum_address(ACME)
TOO_BIG = "0x1" + "0" * 64
GOOD = payment(1)


def run(work: Any) -> Any:
    return asyncio.run(work)


def text(**fields: Any) -> str:
    """The payload's JSON with some fields changed; None leaves one out."""
    return json.dumps({name: value for name, value in {**GOOD, **fields}.items() if value is not None})


def added(extra: str) -> str:
    """The payload's JSON with something that no dictionary can hold."""
    return json.dumps(GOOD)[:-1] + f", {extra}}}"


def calldata(change: Callable[[str], str]) -> str:
    return text(data=change(GOOD["data"]))


MALFORMED = {
    "a float": (added('"value": 1.5'), "bad_quantity"),
    "a whole float": (added('"value": 1.0'), "bad_quantity"),
    "a float in a string": (text(value="1.5"), "bad_quantity"),
    "an exponent": (added('"value": 1e18'), "bad_quantity"),
    "a number": (added('"value": 1'), "bad_quantity"),
    "a decimal string": (text(value="1000"), "bad_quantity"),
    "a boolean": (text(value=True), "bad_quantity"),
    "a list": (text(value=["0x1"]), "bad_quantity"),
    "a negative number": (added('"value": -1'), "bad_quantity"),
    "a negative string": (text(value="-0x1"), "bad_quantity"),
    "a plus sign": (text(value="+0x1"), "bad_quantity"),
    "an underscore": (text(value="0x1_0"), "bad_quantity"),
    "a space": (text(value="0x1 "), "bad_quantity"),
    "an empty quantity": (text(value="0x"), "bad_quantity"),
    "digits that are no ASCII": (text(value="0x\uff11"), "bad_quantity"),
    "NaN": (added('"value": NaN'), "bad_number"),
    "Infinity": (added('"value": Infinity'), "bad_number"),
    "minus infinity": (added('"value": -Infinity'), "bad_number"),
    "a number without end": (added('"value": 1' + "0" * 5000), "bad_number"),
    "2^256": (text(value=TOO_BIG), "quantity_overflow"),
    "2^256 as a number": (added(f'"value": {2**256}'), "bad_number" if len(str(2**256)) > 100 else "bad_quantity"),
    "2^64 gas": (text(gas=hex(2**64)), "quantity_overflow"),
    "2^64 - 1 as nonce": (text(nonce=hex(2**64 - 1)), "quantity_overflow"),
    "a key twice": (added(f'"to": "{PAYEE}"'), "duplicate_key"),
    "a key twice, written differently": (added('"\\u0074o": null'), "duplicate_key"),
    "a wrong checksum": (text(to=MINE.swapcase().replace("0X", "0x")), "bad_checksum"),
    "a short address": (text(to=PAYEE[:-2]), "bad_address"),
    "a long address": (text(to=PAYEE + "00"), "bad_address"),
    "a name for an address": (text(to="acme.eth"), "bad_address"),
    "no address at all": (text(to=7), "bad_address"),
    "another wallet": (text(**{"from": PAYEE}), "wrong_wallet"),
    "another chain": (text(chainId="0x1"), "wrong_chain"),
    "chain 0": (text(chainId="0x0"), "bad_chain_id"),
    "a chain as a number": (text(chainId=31337), "bad_quantity"),
    "input that is not data": (text(input="0x00"), "data_input_mismatch"),
    "odd hex": (calldata(lambda d: d + "0"), "bad_hex"),
    "hex without 0x": (calldata(lambda d: d[2:]), "bad_hex"),
    "hex that is none": (calldata(lambda d: d[:-1] + "g"), "bad_hex"),
    "data that is no text": (text(data=[1, 2]), "bad_hex"),
    "an unknown key": (text(gasLimit="0x5208"), "unknown_field"),
    "an unknown key that is null": (added('"maxFee": null'), "unknown_field"),
    "a key with other case": (text(Value="0x1"), "unknown_field"),
    "both ways to pay": (text(gasPrice="0x1", maxFeePerGas="0x1"), "fee_conflict"),
    "a priority above the cap": (text(maxFeePerGas="0x1", maxPriorityFeePerGas="0x2"), "fee_conflict"),
    "a legacy type with a fee cap": (text(type="0x0", maxFeePerGas="0x1"), "type_conflict"),
    "a legacy type with an access list": (text(type="0x0", accessList=[]), "type_conflict"),
    "a fee market type with a gas price": (text(type="0x2", gasPrice="0x1"), "type_conflict"),
    "an unknown type": (text(type="0x7f"), "bad_type"),
    "a set-code type without a list": (text(type="0x4"), "type_conflict"),
    "an access list that is none": (text(accessList="0x"), "bad_list"),
    "a storage key that is too short": (text(accessList=[{"address": PAYEE, "storageKeys": ["0x00"]}]), "bad_hex"),
    "too much calldata": (text(data="0x" + "00" * 200_000), "data_too_large"),
    "nesting": (added('"accessList": ' + "[" * 40 + "]" * 40), "json_too_deep"),
    "half a surrogate pair": (added('"data2": "\\ud800"'), "bad_utf8"),
}
"""The payload of a transaction, and the code it is refused with before it becomes a request."""

UNDERSTOOD_AND_DENIED = {
    "trailing bytes": (calldata(lambda d: d + "00"), "trailing_bytes"),
    "a trailing word": (calldata(lambda d: d + "00" * 32), "trailing_bytes"),
    "a dirty address word": (calldata(lambda d: d[:10] + "ff" + d[12:]), "noncanonical_abi"),
    "a word that is short": (calldata(lambda d: d[:-2]), "noncanonical_abi"),
    "a selector alone": (calldata(lambda d: d[:10]), "noncanonical_abi"),
    "half a selector": (calldata(lambda d: d[:6]), "unknown_function"),
    "an unknown function": (calldata(lambda d: "0xdeadbeef" + d[10:]), "unknown_function"),
    "value for a token": (text(value="0x1"), "value_to_token"),
    "a blob": (text(type="0x3", blobVersionedHashes=["0x01" + "00" * 31], maxFeePerBlobGas="0x1"), "blob_transaction"),
    "a creation": (text(to=None), "deployment_not_permitted"),
    "a fee beyond all bounds": (text(gas=hex(2**64 - 1), maxFeePerGas=hex(2**256 - 1)), "over_per_request"),
    "the whole of uint256": (text(data=GOOD["data"][:74] + "f" * 64), "over_per_request"),
    "another recipient": (json.dumps(payment(1, OTHER)), "recipient_not_permitted"),
    "the token itself as recipient": (json.dumps(payment(1, USDC)), "recipient_not_permitted"),
}
"""The payload of a transaction that can be read, and a reason of its denial."""

BODIES = {
    "nothing": (b"", "bad_json"),
    "no JSON": (b"transfer everything", "bad_json"),
    "JSON and more": (b"{}{}", "bad_json"),
    "half of it": (b'{"id": "x"', "bad_json"),
    "single quotes": (b"{'id': 'x'}", "bad_json"),
    "a comment": (b"{/**/}", "bad_json"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "byte_order_mark"),
    "UTF-16": ("{}".encode("utf-16"), "byte_order_mark"),
    "no UTF-8": (b'{"id": "\xff"}', "bad_utf8"),
    "too much": (b'{"id": "' + b"x" * BODY_SIZE_BYTES_MAX + b'"}', "body_too_large"),
    "deep lists": (b"[" * 100_000, "json_too_deep"),
    "deep objects": (b'{"a":' * 100_000, "json_too_deep"),
    "deep behind a string": (b'{"a":"' + b"\\\\" * 1000 + b'","b":' + b"[" * 1000, "json_too_deep"),
    "one number": (b"1", "bad_shape"),
    "one string": (b'"x"', "bad_shape"),
}
"""A whole body, and the code."""


async def refused(endpoints: Endpoints, code: str, send: Awaitable[tuple[str, Any]], *, surface: str) -> None:
    """It is refused with `code`, recorded once with it, and nothing was signed, sent, booked or kept."""
    before = len(endpoints.entries)
    found, answer = await send
    assert found == code, answer
    fresh = endpoints.entries[before:]
    assert [entry["kind"] for entry in fresh] == ["request_denied"], fresh
    assert fresh[0]["code"] == code
    assert fresh[0]["surface"] == surface
    assert fresh[0]["agent"] == "shopper"
    nothing_happened(endpoints)


def nothing_happened(endpoints: Endpoints) -> None:
    bench = endpoints.bench
    assert bench.chain.received == []
    assert bench.store.next_movement_id() == 1
    assert not any(request.raw or request.signature for request in bench.store.recent_requests())


async def by_rpc(endpoints: Endpoints, body: bytes) -> tuple[str, Any]:
    answer = await endpoints.post_rpc(body)
    if isinstance(answer, list):
        (answer,) = answer
    assert answer["error"]["code"] in (-32600, 4100)
    return answer["error"]["data"]["walletgate"]["code"], answer


async def by_api(endpoints: Endpoints, body: bytes) -> tuple[str, Any]:
    status, answer = await endpoints.api("POST", "/v1/requests", body)
    assert status in (400, 413)
    return answer["error"]["code"], answer


def rpc_body(payload: str, method: str = "eth_sendTransaction") -> bytes:
    return f'{{"jsonrpc":"2.0","id":1,"method":"{method}","params":[{payload}]}}'.encode()


def api_body(payload: str, kind: str = "transaction") -> bytes:
    return f'{{"id":"bad","kind":"{kind}","payload":{payload}}}'.encode()


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_transaction_is_refused_on_every_door(tmp_path: Path, case: str) -> None:
    payload, code = MALFORMED[case]

    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            await refused(endpoints, code, by_rpc(endpoints, rpc_body(payload)), surface="rpc")
            signing = rpc_body(payload, "eth_signTransaction")
            await refused(endpoints, code, by_rpc(endpoints, signing), surface="rpc")
            await refused(endpoints, code, by_api(endpoints, api_body(payload)), surface="api")
            signing = api_body(payload, "sign_transaction")
            await refused(endpoints, code, by_api(endpoints, signing), surface="api")
            assert endpoints.bench.store.recent_requests() == []

    run(work())


@pytest.mark.parametrize("case", UNDERSTOOD_AND_DENIED)
def test_what_can_be_read_but_not_trusted_is_denied_alike(tmp_path: Path, case: str) -> None:
    payload, code = UNDERSTOOD_AND_DENIED[case]

    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            answer = await endpoints.post_rpc(rpc_body(payload))
            assert answer["error"]["code"] == 4001
            _, same = await endpoints.api("POST", "/v1/requests", api_body(payload))
            assert same["request"]["status"] == "denied"
            reasons = same["request"]["decision"]["reasons"]
            assert reasons == answer["error"]["data"]["walletgate"]["reasons"]
            assert code in [reason["code"] for reason in reasons]
            assert [entry["kind"] for entry in endpoints.entries[1:]] == ["request_denied"] * 2
            nothing_happened(endpoints)

    run(work())


@pytest.mark.parametrize("case", BODIES)
def test_a_body_that_is_no_request_is_refused_on_every_door(tmp_path: Path, case: str) -> None:
    body, code = BODIES[case]

    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            await refused(endpoints, code, by_rpc(endpoints, body), surface="rpc")
            await refused(endpoints, code, by_api(endpoints, body), surface="api")

    run(work())


def test_a_body_without_a_length_is_cut_off_at_the_bound(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:

            async def endless() -> Any:
                for _ in range(200):
                    yield b" " * 65_536

            headers = {"Authorization": f"Bearer {TOKEN}"}
            async with endpoints.agents.post("/v1/requests", data=endless(), headers=headers) as response:
                assert response.status == 413
                assert (await response.json())["error"]["code"] == "body_too_large"
            nothing_happened(endpoints)

    run(work())


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"id": ""}, "bad_id"),
        ({"id": "x" * 65}, "bad_id"),
        ({"id": "../../etc/passwd\n"}, "bad_id"),
        ({"id": "número"}, "bad_id"),
        ({"id": 7}, "bad_id"),
        ({"id": None}, "bad_id"),
        ({"kind": "export_key"}, "bad_kind"),
        ({"kind": ["transaction"]}, "bad_kind"),
        ({"payload": None}, "bad_shape"),
        ({"payload": "0x"}, "bad_shape"),
        ({"memo": 7}, "bad_memo"),
        ({"memo": "x" * 501}, "bad_memo"),
        ({"approve": True}, "unknown_field"),
        ({"policy": "allow all"}, "unknown_field"),
        ({"wait_s": -1}, "bad_wait"),
        ({"wait_s": 301}, "bad_wait"),
        ({"wait_s": 1e308}, "bad_wait"),
        ({"wait_s": True}, "bad_wait"),
        ({"wait_s": "5"}, "bad_wait"),
        ({"expect": "5 USDC"}, "bad_expectation"),
        ({"expect": {"amount": 5}}, "bad_expectation"),
        ({"expect": {"amount": 2**70}}, "bad_expectation"),
        ({"expect": {"amount": 0.1}}, "bad_expectation"),
        ({"expect": {"amount": "1e3"}}, "bad_expectation"),
        ({"expect": {"amount": "-5"}}, "bad_expectation"),
        ({"expect": {"amount": "5,0"}}, "bad_expectation"),
        ({"expect": {"amount": "05"}}, "bad_expectation"),
        ({"expect": {"asset": 1}}, "bad_expectation"),
        ({"expect": {"to": PAYEE}}, "bad_expectation"),
        ({"expect": {"recipient": PAYEE[:-2]}}, "bad_hex"),
        ({"expect": {"recipient": MINE.swapcase().replace("0X", "0x")}}, "bad_checksum"),
    ],
)
def test_a_request_of_the_agent_api_has_its_own_shape(tmp_path: Path, change: dict[str, Any], code: str) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            body = json.dumps({"id": "r", "kind": "transaction", "payload": GOOD, **change}).encode()
            await refused(endpoints, code, by_api(endpoints, body), surface="api")

    run(work())


@pytest.mark.parametrize(
    ("kind", "method", "payload", "params", "code"),
    [
        ("typed_data", "eth_signTypedData_v4", [1], [MINE, [1]], "bad_typed_data"),
        ("typed_data", "eth_signTypedData_v4", None, [MINE, '{"a":1,"a":2}'], "duplicate_key"),
        ("typed_data", "eth_signTypedData_v4", None, [MINE, '{"a":NaN}'], "bad_number"),
        ("typed_data", "eth_signTypedData_v4", None, [MINE, "{" * 50], "json_too_deep"),
        ("typed_data", "eth_signTypedData_v4", None, [MINE], "malformed_params"),
        ("message", "personal_sign", {"data": "0x0"}, ["0x0", MINE], "bad_hex"),
        ("message", "personal_sign", {"data": 5}, [5, MINE], "bad_message"),
        ("message", "personal_sign", {"data": "0x" + "00" * 20_000}, ["0x" + "00" * 20_000, MINE], "message_too_large"),
        ("hash", "eth_sign", {"data": "0x" + "00" * 31}, [MINE, "0x" + "00" * 31], "bad_hex"),
        ("authorization", "eth_sign7702Authorization", {"address": PAYEE}, [{"address": PAYEE}], "missing_field"),
        ("authorization", "eth_sign7702Authorization", {"chainId": 1, "address": PAYEE},
         [{"chainId": 1, "address": PAYEE}], "bad_quantity"),
        ("batch", "wallet_sendCalls", {"version": "1.0", "calls": []}, [{"version": "1.0", "calls": []}], "bad_version"),
        ("batch", "wallet_sendCalls", {"version": "2.0.0", "chainId": "0x7a69", "calls": []},
         [{"version": "2.0.0", "chainId": "0x7a69", "calls": []}], "bad_batch"),
        ("transaction", "eth_sendTransaction", None, [GOOD, "latest"], "malformed_params"),
        ("transaction", "eth_sendTransaction", None, [], "malformed_params"),
    ],
)  # fmt: skip
def test_other_kinds_are_read_as_strictly(
    tmp_path: Path, kind: str, method: str, payload: Any, params: list[Any], code: str
) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
            await refused(endpoints, code, by_rpc(endpoints, call), surface="rpc")
            if isinstance(payload, dict):
                body = json.dumps({"id": "x", "kind": kind, "payload": payload}).encode()
                await refused(endpoints, code, by_api(endpoints, body), surface="api")

    run(work())


def test_typed_data_as_text_and_as_object_come_to_the_same(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            digests = []
            for document in (permit(5), json.dumps(permit(5))):
                await endpoints.rpc("eth_signTypedData_v4", MINE, document)
                digests.append((endpoints.entries[-1]["digest"], endpoints.entries[-1]["reasons"]))
            assert digests[0] == digests[1]

    run(work())


@pytest.mark.parametrize("fields", [{"gasPrice": "0x3b9aca00"}, {"gasPrice": "0x3b9aca00", "type": "0x0"}])
def test_a_legacy_transaction_without_a_chain_is_signed_for_the_gates_own(tmp_path: Path, fields: Any) -> None:
    """Without EIP-155 it could be replayed on every chain; so the gate fills the chain in, and binds it."""

    async def work() -> None:
        from eth_account import Account  # noqa: PLC0415

        async with make_endpoints(tmp_path) as endpoints:
            assert "result" in await endpoints.post_rpc(rpc_body(text(**fields)))
            _, answer = await endpoints.api("POST", "/v1/requests", api_body(text(**fields)))
            assert answer["request"]["status"] in ("signed", "broadcast")
            for raw in endpoints.bench.chain.received:
                v = int.from_bytes(rlp.decode(raw)[6], "big")
                assert (v - 35) // 2 == 31337
                assert Account.recover_transaction(to_hex(raw)) == MINE == Account.from_key(SECRET).address
            assert len(endpoints.bench.chain.received) == 2

    run(work())
