"""Witnesses: what is cosigned extends what was seen, and a fork is never cosigned twice."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.factories import NOW_MS, ORIGIN, make_gate
from walletgate.audit.entry import Kind
from walletgate.audit.merkle import leaf_hash, nodes_of, prove_consistency, root_of
from walletgate.audit.note import Checkpoint, SigningKey, open_checkpoint, sign_checkpoint
from walletgate.audit.witness import AddCheckpoint, Cosigner, cosigned_at, parse_cosigner_key, parse_request
from walletgate.errors import AuditError, ConfigError
from walletgate.server.home import parse_config
from walletgate.server.witness import Outpost, Target, WitnessApi, read_seen
from walletgate.types import Hash32

KEY = SigningKey(ORIGIN, b"\x07" * 32)
COSIGNER = Cosigner("witness.example/w", b"\x09" * 32)
LEAVES = [leaf_hash(b"%d" % n) for n in range(40)]
FORKED = [*LEAVES[:9], leaf_hash(b"other"), *LEAVES[10:]]


def api(folder: Path) -> WitnessApi:
    return WitnessApi(folder, COSIGNER, {ORIGIN: [KEY.verifying_key]}, lambda: 1_795_000_000)


def request(old: int, size: int, leaves: list[Hash32] = LEAVES, key: SigningKey = KEY, **changes: Any) -> bytes:
    note = sign_checkpoint(Checkpoint(key.name, size, root_of(leaves[:size])), [key])
    proof = prove_consistency(nodes_of(leaves[:size]), old, size) if 0 < old < size else ()
    return str(AddCheckpoint(**{"old": old, "proof": proof, "note": note, **changes})).encode()


def refusal(witness: WitnessApi, body: bytes) -> AuditError:
    with pytest.raises(AuditError) as caught:
        witness.add(body)
    return caught.value


def test_a_growing_log_is_cosigned(tmp_path: Path) -> None:
    witness = api(tmp_path)
    seen = 0
    for size in (0, 1, 5, 5, 8, 33, 40):
        body = request(seen, size)
        line = witness.add(body)
        note = parse_request(body).note
        assert cosigned_at(note + line, COSIGNER.key) == 1_795_000_000
        assert open_checkpoint(note + line, origin=ORIGIN, trusted=[KEY.verifying_key]).size == size
        seen = size
    assert read_seen(witness.path(ORIGIN)) == Checkpoint(ORIGIN, 40, root_of(LEAVES))


def test_a_cosignature_is_as_the_specification_says() -> None:
    note = sign_checkpoint(Checkpoint(ORIGIN, 3, root_of(LEAVES[:3])), [KEY])
    name, encoded = COSIGNER.cosign(note, 17).removeprefix("\u2014 ").split(" ")
    data = base64.b64decode(encoded)
    _, key_id, public = str(COSIGNER.key).split("+", 2)
    raw = base64.b64decode(public)
    assert (raw[0], len(raw), len(data)) == (4, 33, 76)
    assert hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4] == data[:4] == bytes.fromhex(key_id)
    assert int.from_bytes(data[4:12], "big") == 17
    text = note.split("\n\n")[0] + "\n"
    Ed25519PublicKey.from_public_bytes(raw[1:]).verify(data[12:], b"cosignature/v1\ntime 17\n" + text.encode())
    assert parse_cosigner_key(str(COSIGNER.key)) == COSIGNER.key


@pytest.mark.parametrize(
    ("body", "code", "size"),
    [
        (request(0, 12), "witness_conflict", 10),
        (request(9, 12), "witness_conflict", 10),
        (request(9, 9), "witness_conflict", 10),
        (request(10, 10, FORKED), "witness_conflict", 10),
        (request(10, 20, FORKED), "witness_inconsistent", None),
        (request(10, 20, proof=()), "witness_inconsistent", None),
        (request(10, 10, proof=(LEAVES[0],)), "witness_inconsistent", None),
        (request(12, 11), "witness_malformed", None),
        (request(10, 20, key=SigningKey(ORIGIN, b"\x08" * 32)), "witness_untrusted", None),
        (request(10, 20).replace(b"\n20\n", b"\n21\n"), "witness_untrusted", None),
        (request(0, 20, key=SigningKey("other.log", b"\x08" * 32)), "witness_unknown_log", None),
        (b"", "witness_malformed", None),
        (b"old -1\n\nx", "witness_malformed", None),
        (b"old 010\n\nx", "witness_malformed", None),
        (b"old 1\nxx\n\nx", "witness_malformed", None),
        (b"old 1\n" + b"A" * 70_000, "witness_malformed", None),
        (b"\xff\xfe", "witness_malformed", None),
    ],
)
def test_what_does_not_extend_what_was_seen_is_refused(
    tmp_path: Path, body: bytes, code: str, size: int | None
) -> None:
    witness = api(tmp_path)
    witness.add(request(0, 10))
    before = witness.path(ORIGIN).read_bytes()
    error = refusal(witness, body)
    assert (error.code, error.data.get("size")) == (code, size)
    assert witness.path(ORIGIN).read_bytes() == before


def test_of_two_histories_at_once_one_is_cosigned(tmp_path: Path) -> None:
    witness = api(tmp_path)
    witness.add(request(0, 8))
    bodies = [request(8, 20, leaves) for leaves in (LEAVES, FORKED) for _ in range(8)]

    def work(body: bytes) -> bool:
        try:
            api(tmp_path).add(body)
        except AuditError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(work, bodies))
    assert sum(done) >= 1
    seen = read_seen(witness.path(ORIGIN))
    assert seen is not None
    winner = LEAVES if seen.root == root_of(LEAVES[:20]) else FORKED
    loser = FORKED if winner is LEAVES else LEAVES
    assert refusal(witness, request(20, 20, loser)).code == "witness_conflict"


def test_a_damaged_memory_cosigns_nothing(tmp_path: Path) -> None:
    witness = api(tmp_path)
    witness.add(request(0, 10))
    witness.path(ORIGIN).write_text("garbage")
    assert refusal(witness, request(0, 12)).code == "checkpoint_malformed"


def test_a_gate_has_its_log_cosigned_and_appended_over_http(tmp_path: Path) -> None:
    async def work() -> None:
        app = web.Application()
        app.add_routes(api(tmp_path / "witness").routes())
        async with make_gate(tmp_path) as bench, TestServer(app) as server, aiohttp.ClientSession() as session:
            newest: list[str] = []

            async def grow() -> None:
                async with bench.store.write(NOW_MS) as tx:
                    tx.entry(Kind.FROZEN, {"scope": "all", "operator": "a", "reason": ""})
                store = bench.store
                checkpoint = Checkpoint(ORIGIN, store.log_size, Hash32(store.log_root()))
                newest[:] = [sign_checkpoint(checkpoint, [KEY])]

            target = Target(str(server.make_url("/")).rstrip("/"), COSIGNER.key)
            outpost = Outpost(bench.store, lambda: newest[0] if newest else None, tmp_path / "own", [target])
            sinks = [tmp_path / "sink-a", tmp_path / "sink-b", tmp_path / "no" / "folder"]
            await outpost.step(session, sinks)
            for _ in range(3):
                await grow()
                await outpost.step(session, sinks)
                await outpost.step(session, sinks)
            (kept,) = (tmp_path / "own").iterdir()
            assert cosigned_at(kept.read_text(), COSIGNER.key) == 1_795_000_000
            assert sinks[0].read_text().count(ORIGIN + "\n") == 3
            assert sinks[0].read_text() == sinks[1].read_text()
            # A gate that starts anew asks with 0, is told 409 with the size, and goes on from there.
            await grow()
            again = Outpost(bench.store, lambda: newest[0], tmp_path / "own", [target])
            await again.step(session, [])
            seen = read_seen(api(tmp_path / "witness").path(ORIGIN))
            assert seen is not None and seen.size == bench.store.log_size

    asyncio.run(work())


def test_a_gate_whose_past_was_changed_is_told_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        witness = api(tmp_path / "witness")
        witness.add(request(0, 30))
        app = web.Application()
        app.add_routes(witness.routes())
        async with make_gate(tmp_path) as bench, TestServer(app) as server, aiohttp.ClientSession() as session:
            store = bench.store
            note = sign_checkpoint(Checkpoint(ORIGIN, store.log_size, Hash32(store.log_root())), [KEY])
            target = Target(str(server.make_url("/")).rstrip("/"), COSIGNER.key)
            await Outpost(store, lambda: note, tmp_path / "own", [target]).step(session, [])

    asyncio.run(work())
    assert "has seen another history of this log" in caplog.text


@pytest.mark.parametrize("answer", ["", "\u2014 witness.example/w AAAA\n", "x" * 10_000])
def test_an_answer_that_is_no_cosignature_is_not_kept(tmp_path: Path, answer: str) -> None:
    async def lie(_http: web.Request) -> web.Response:
        return web.Response(text=answer)

    async def work() -> None:
        app = web.Application()
        app.add_routes([web.post("/add-checkpoint", lie)])
        async with make_gate(tmp_path) as bench, TestServer(app) as server, aiohttp.ClientSession() as session:
            store = bench.store
            note = sign_checkpoint(Checkpoint(ORIGIN, store.log_size, Hash32(store.log_root())), [KEY])
            target = Target(str(server.make_url("/")).rstrip("/"), COSIGNER.key)
            await Outpost(store, lambda: note, tmp_path / "own", [target]).step(session, [])
            assert not (tmp_path / "own").exists()

    asyncio.run(work())


CONFIG = 'name = "a"\n[chains.base]\nurl = "http://127.0.0.1:1"\n'


def test_witnesses_are_configured() -> None:
    text = (
        f'sinks = ["/mnt/worm/x"]\n{CONFIG}[[witnesses]]\nurl = "https://w.example/"\nkey = "{COSIGNER.key}"\n'
        f'[witness]\nlisten = "127.0.0.1:0"\n[witness.logs]\n"{ORIGIN}" = "{KEY.verifying_key}"\n'
    )
    config = parse_config(text, source="x")
    assert config.sinks == (Path("/mnt/worm/x"),)
    assert config.witnesses == (("https://w.example", COSIGNER.key),)
    assert config.witness is not None and config.witness.logs[ORIGIN] == (KEY.verifying_key,)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('sinks = ["relative"]\n' + CONFIG, "sinks"),
        (CONFIG + '[[witnesses]]\nurl = "ftp://x"\nkey = "y"\n', "witnesses[0].url"),
        (CONFIG + '[[witnesses]]\nurl = "https://x"\nkey = "y"\n', "witnesses[0].key"),
        (CONFIG + f'[[witnesses]]\nurl = "https://x"\nkey = "{KEY.verifying_key}"\n', "witnesses[0].key"),
        (CONFIG + '[[witnesses]]\nurl = "https://x"\nkay = "y"\n', "witnesses[0].kay"),
        (CONFIG + '[witness]\nlisten = "127.0.0.1:1"\n', "witness.logs"),
        (CONFIG + '[witness]\nlisten = "127.0.0.1:1"\n[witness.logs]\n"a" = "b"\n', "witness.logs.a"),
        (CONFIG + f'[witness]\n[witness.logs]\n"a" = "{KEY.verifying_key}"\n', "witness.listen"),
    ],
)
def test_a_bad_configuration_names_the_key(text: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, source="x")
    assert caught.value.data["key"] == key
