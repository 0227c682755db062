"""Whether enough of the right people have said yes to a request.

A rule asks for a number of people, of certain ones or of any approver; or for groups: each of them, and then different
people for each, so that nobody who is in two groups speaks for both; or one of them. A rule may bar those who drafted
the policy in force or gave the grant: whoever wrote what permits a payment does not wave it through as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from walletgate.types import ApprovalTerms


def satisfied(terms: Sequence[ApprovalTerms], voices: Iterable[str], barred: frozenset[str]) -> bool:
    """Whether `voices` are enough for every one of `terms`; `barred` are those who wrote or gave the authority."""
    people = frozenset(voices)
    return all(_is_met(each, people - barred if each.apart else people) for each in terms)


def may_decide(terms: Sequence[ApprovalTerms], name: str, barred: frozenset[str]) -> bool:
    """Whether the yes of `name` would count for any of `terms`."""
    return any((name in each.of or not each.of) and not (each.apart and name in barred) for each in terms)


def _is_met(terms: ApprovalTerms, people: frozenset[str]) -> bool:
    if not terms.groups:
        return sum(name in terms.of or not terms.of for name in people) >= terms.quorum
    if not terms.every:
        return any(len(people.intersection(group.of)) >= group.quorum for group in terms.groups)
    return _is_staffed([group.of for group in terms.groups for _ in range(group.quorum)], people)


def _is_staffed(places: Sequence[tuple[str, ...]], people: frozenset[str]) -> bool:
    """Whether every place can have a person of its own: bipartite matching by augmenting paths."""
    holds: dict[str, int] = {}

    def seat(place: int, asked: set[str]) -> bool:
        for name in places[place]:
            if name in people and name not in asked:
                asked.add(name)
                if name not in holds or seat(holds[name], asked):
                    holds[name] = place
                    return True
        return False

    return all(seat(place, set()) for place in range(len(places)))
