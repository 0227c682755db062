"""The gate's metrics, in Prometheus' text format 0.0.4, made from memory when they are asked for.

Nothing here is on a request's way: counters are the gate's own (`gate.meter`), everything else is what the gate
knows at this moment. Labels are names that operators gave, codes and numbers; nothing an agent wrote becomes one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from walletgate.gate import Gate
from walletgate.gate.checkpoints import Checkpoints
from walletgate.gate.gate import VERSION
from walletgate.gate.judging import used_without
from walletgate.gate.lifecycle import SENT
from walletgate.gate.meter import BOUNDS_S, Histogram
from walletgate.policy import Scope, headroom
from walletgate.server.notify import Route
from walletgate.types import Status

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[Mapping[str, str], float]

METRICS: Final[Mapping[str, tuple[str, str]]] = {
    "walletgate_build_info": ("gauge", "1, with the version as a label."),
    "walletgate_decisions_total": ("counter", "Requests decided, by outcome and first reason code."),
    "walletgate_stage_seconds": ("histogram", "How long deciding, signing, committing and broadcasting took."),
    "walletgate_commit_queue_depth": ("gauge", "State changes that wait for the next commit."),
    "walletgate_requests_open": ("gauge", "Requests that wait or are under way, by status."),
    "walletgate_inflight_nonces": ("gauge", "Nonces that are signed and not settled, by wallet and chain."),
    "walletgate_limit_used_ratio": ("gauge", "Share of a limit that is used, 1 is all of it."),
    "walletgate_drafts_open": ("gauge", "Commands that wait for the quorum."),
    "walletgate_freezes": ("gauge", "Freezes in force."),
    "walletgate_log_entries": ("gauge", "Entries in the audit log."),
    "walletgate_log_unsigned_entries": ("gauge", "Entries after the newest signed checkpoint."),
    "walletgate_checkpoint_age_seconds": ("gauge", "Age of the newest signed checkpoint of this run."),
    "walletgate_node_errors_total": ("counter", "Failed answers of nodes, by chain and code."),
    "walletgate_notices_sent_total": ("counter", "Notices that were taken, by sink."),
    "walletgate_notices_dropped_total": ("counter", "Notices that were lost, by sink."),
}
"""Every metric there is: its type and what it says."""


def render(gate: Gate, checkpoints: Checkpoints, routes: Iterable[Route] = ()) -> str:
    """All metrics as text."""
    values = dict(_values(gate, checkpoints, tuple(routes)))
    lines = []
    for name, (kind, text) in METRICS.items():
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        if kind == "histogram":
            for stage, histogram in gate.meter.stages.items():
                lines += _histogram(name, {"stage": stage}, histogram)
        else:
            lines += [f"{name}{_labels(labels)} {_number(value)}" for labels, value in values.get(name, ())]
    return "\n".join(lines) + "\n"


def _values(gate: Gate, checkpoints: Checkpoints, routes: tuple[Route, ...]) -> Iterator[tuple[str, list[Sample]]]:
    state, meter, store = gate.state, gate.meter, gate.store
    yield "walletgate_build_info", [({"version": VERSION}, 1)]
    yield (
        "walletgate_decisions_total",
        [({"outcome": outcome, "code": code}, count) for (outcome, code), count in sorted(meter.decisions.items())],
    )
    yield "walletgate_commit_queue_depth", [({}, gate.commits.depth)]
    statuses = Counter(request.status for request in state.requests.values())
    waiting = (Status.AWAITING_APPROVAL, Status.SIGNED, Status.BROADCAST)
    yield "walletgate_requests_open", [({"status": status.value}, statuses[status]) for status in waiting]
    yield "walletgate_inflight_nonces", _nonces(gate)
    yield "walletgate_limit_used_ratio", list(_limits(gate))
    yield "walletgate_drafts_open", [({}, len(store.authority.drafts(status="open")))]
    yield "walletgate_freezes", [({}, len(state.freezes))]
    yield "walletgate_log_entries", [({}, store.log_size)]
    yield "walletgate_log_unsigned_entries", [({}, store.log_size - max(checkpoints.size, 0))]
    signed_ms = checkpoints.signed_ms
    age: list[Sample] = [] if signed_ms is None else [({}, max(0, gate.now_ms() - signed_ms) / 1000)]
    yield "walletgate_checkpoint_age_seconds", age
    yield (
        "walletgate_node_errors_total",
        [
            ({"chain": str(chain_id), "code": code}, count)
            for (chain_id, code), count in sorted(meter.node_errors.items())
        ],
    )
    yield "walletgate_notices_sent_total", [({"sink": route.name}, route.sent) for route in routes]
    yield "walletgate_notices_dropped_total", [({"sink": route.name}, route.dropped) for route in routes]


def _nonces(gate: Gate) -> list[Sample]:
    used = {
        (r.wallet, r.chain_id, r.nonce)
        for r in gate.state.requests.values()
        if r.status in SENT and r.nonce is not None
    }
    found = Counter((wallet, chain_id) for wallet, chain_id, _ in used)
    names = {address: wallet.name for address, wallet in gate.state.wallets.items()}
    return [
        ({"wallet": name, "chain": str(chain_id)}, found[address, chain_id])
        for address, name in sorted(names.items(), key=lambda item: item[1])
        for chain_id in sorted(gate.chains)
    ]


def _limits(gate: Gate) -> Iterator[Sample]:
    state, now_ms = gate.state, gate.now_ms()
    used = used_without(state, None, now_ms)
    for grant in state.grants.values():
        if grant.revoked_ms is not None or (grant.expires_ms is not None and grant.expires_ms <= now_ms):
            continue
        policy = state.policies[grant.policy]
        for chain_id in sorted(policy.chain_ids):
            seen: Counter[tuple[str, ...]] = Counter()
            for limit in headroom(policy, Scope(grant.id, grant.team, grant.wallet, chain_id), used):
                if limit.used is None or limit.limit <= 0 or limit.kind not in ("window", "lifetime"):
                    continue
                window = "ever" if limit.window_s is None else f"{limit.window_s}s"
                key = (limit.name, limit.asset, window)
                seen[key] += 1
                yield {
                    "grant": grant.id, "agent": grant.agent, "chain": str(chain_id), "limit": limit.name,
                    "asset": limit.asset, "window": window, "number": str(seen[key]),
                }, limit.used / limit.limit  # fmt: skip


def _histogram(name: str, labels: Mapping[str, str], histogram: Histogram) -> Iterator[str]:
    total = 0
    for bound, count in zip((*map(_number, BOUNDS_S), "+Inf"), histogram.counts, strict=True):
        total += count
        yield f"{name}_bucket{_labels({**labels, 'le': bound})} {total}"
    yield f"{name}_sum{_labels(labels)} {_number(histogram.total_s)}"
    yield f"{name}_count{_labels(labels)} {total}"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(float(value))
