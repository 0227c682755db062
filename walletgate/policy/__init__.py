"""Policies: TOML text to a compiled policy, and one pure judge of what a request would do."""

from __future__ import annotations

from walletgate.policy.case import AGREES, Case, Facts, PriceFact, Simulation, Used
from walletgate.policy.document import Policy, load
from walletgate.policy.headroom import LimitStatus, Scope, headroom
from walletgate.policy.judge import judge
from walletgate.policy.model import Need
from walletgate.policy.words import describe, explain, show

__all__ = [
    "AGREES",
    "Case",
    "Facts",
    "LimitStatus",
    "Need",
    "Policy",
    "PriceFact",
    "Scope",
    "Simulation",
    "Used",
    "describe",
    "explain",
    "headroom",
    "judge",
    "load",
    "show",
]
