"""Kinds of saga that could not be told apart are refused when they are registered."""

from dataclasses import replace
from typing import Any, Never

import pytest

from orchestrator.batch.decide import Decider
from orchestrator.catalogue.loader import load
from orchestrator.engine.definition import (
    Definition,
    DefinitionError,
    Step,
    Verb,
    compensable,
    pivot,
    query,
)
from orchestrator.sagas import KINDS, registered
from orchestrator.sagas.balance.kind import BALANCE
from orchestrator.sagas.redemption.intake import RedemptionIntake
from orchestrator.sagas.redemption.kind import REDEMPTION
from schemas import events
from tests.engine.checkers import REQUEST
from tests.engine.memory import DEPLOY, Platform
from tests.engine.one import KEY, said
from tests.sagas.passcode import PASSCODE, Intake, Requested, Role


def test_a_later_version_stands_beside_the_one_before() -> None:
    later = replace(REDEMPTION, definition=replace(REDEMPTION.definition, version=2))
    found = registered(*KINDS.values(), later)
    assert found["redemption", 1] is REDEMPTION
    assert found["redemption", 2] is later


def test_the_same_kind_twice_is_refused() -> None:
    with pytest.raises(DefinitionError, match="the same kind: balance 1"):
        registered(BALANCE, BALANCE)


def test_a_verb_of_another_kind_is_refused() -> None:
    """A leg id ends with its verb, and ladders go by it."""
    taken = replace(PASSCODE.definition.steps[2], do=Verb(name="deduct", command="test.deduct.v1"))
    steps = (*PASSCODE.definition.steps[:2], taken)
    other = replace(PASSCODE, definition=replace(PASSCODE.definition, steps=steps))
    with pytest.raises(DefinitionError, match="the same verb: deduct"):
        registered(REDEMPTION, other)


def test_an_event_of_another_kind_is_refused() -> None:
    other = replace(PASSCODE, intake=BALANCE.intake)
    with pytest.raises(DefinitionError, match="the same event: BalanceInquired"):
        registered(BALANCE, other)


class Unmarked(Requested):
    """An event that makes the ids of redemptions."""

    saga_kind = ""


class Careless(Intake):
    requested = Unmarked


def test_an_event_that_makes_ids_of_another_kind_is_refused() -> None:
    """Two kinds with the same ids would answer for each other."""
    other = replace(PASSCODE, intake=Careless())
    with pytest.raises(DefinitionError, match="saga_kind must be 'passcode'"):
        registered(REDEMPTION, other)


class Later(RedemptionIntake):
    """The intake of a later version, which must not touch what an earlier one accepts."""

    def refusal(self, *_: Any) -> Never:
        raise AssertionError

    def legs(self, *_: Any) -> Never:
        raise AssertionError


def test_a_programme_stays_with_its_version_while_a_later_one_is_registered() -> None:
    definition = replace(REDEMPTION.definition, version=2)
    later = replace(REDEMPTION, definition=definition, intake=Later(definition), fast_path=None)
    catalogue = load(DEPLOY, registered(*KINDS.values(), later))
    platform = Platform(decider=Decider(catalogue, "uprp"))
    platform.request(REQUEST)
    decision = platform.batch()
    (saga,) = platform.sagas()
    assert saga.terms.definition_version == 1
    assert said(decision) == ["citi.commands /deduct#1"]
    platform.request(REQUEST)
    assert platform.batch().counts["duplicate_requests"] == 1
    data = {"request_id": REQUEST["request_id"], "account": REQUEST["account"]}
    platform.arrive("alipayhk", events.WITHDRAWN, KEY, data)
    platform.batch()
    assert platform.sagas()[0].withdrawn


ASK = query(Verb(name="ask", command="a.v1"), to=Role.HOST)
GIVE = pivot(Verb(name="give", command="g.v1"), to=Role.HOST)
TAKE = compensable(
    Verb(name="take", command="t.v1"), to=Role.HOST, undo=Verb(name="back", command="b.v1")
)
SILENT = query(Verb(name="hush", command=None), to=Role.HOST)


@pytest.mark.parametrize(
    ("steps", "why"),
    (
        ((), "has a step"),
        ((GIVE, replace(GIVE, do=Verb(name="more", command="m.v1"))), "turns at most once"),
        ((GIVE, TAKE), "nothing but queries can follow the pivot"),
        ((ASK, ASK), "verbs repeat"),
        ((replace(ASK, do=Verb(name="loss", command="l.v1")),), "cannot stand in a leg id"),
        ((replace(ASK, do=Verb(name="ask/1", command="l.v1")),), "cannot stand in a leg id"),
        ((SILENT,), "hush must be commanded"),
        ((replace(ASK, to=REDEMPTION.definition.steps[0].to),), "not asked of a role of its"),
    ),
)
def test_what_cannot_run_is_refused_when_it_is_declared(steps: tuple[Step, ...], why: str) -> None:
    with pytest.raises(DefinitionError, match=why):
        Definition(name="made-up", version=1, roles=Role, steps=steps, answer="r.v1")
