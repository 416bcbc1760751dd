"""Which checkers must find which of the planted bugs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.mutants import bugs
from tests.mutants.bugs import Patch


@dataclass(frozen=True)
class Mutant:
    """One planted bug, and who must catch it."""

    name: str
    plant: Callable[[Patch], None]
    caught_by: tuple[str, ...]
    at_night: tuple[str, ...] = ()
    """Who must catch it too, and takes seconds until it does: tried by `make nightly`."""


WALK, WORLDS, HARD, ECHO, LIMITS, ORDERS, HOSTILE = (
    "walk",
    "worlds",
    "hard cases",
    "amplification",
    "limits",
    "orders",
    "hostile",
)
MUTANTS: Final = (
    Mutant("a time-out is read as a no", bugs.late_is_a_no, (WALK, WORLDS, HARD, ORDERS, HOSTILE)),
    Mutant("an exhausted ladder is read as a no", bugs.silence_is_a_no, (WALK, ORDERS)),
    Mutant(
        "NOT_RECEIVED is read as a no",
        bugs.a_reading_is_a_no,
        (WALK, WORLDS, HARD, ORDERS, HOSTILE),
    ),
    Mutant(
        "an unanswered cancel counts as accepted", bugs.unheard_cancels_count, (WALK, HARD, ORDERS)
    ),
    Mutant("a cancel is said once", bugs.a_cancel_is_said_once, (WALK, HARD, ORDERS)),
    Mutant("a command is said after its cancel", bugs.asked_after_the_cancel, (WALK, ORDERS)),
    Mutant("resent after an accepted cancel", bugs.resent_after_an_accepted_cancel, (WALK, ORDERS)),
    Mutant(
        "cancelled, then called pending", bugs.a_cancelled_leg_may_be_called_pending, (WALK, ORDERS)
    ),
    Mutant("a retry says the command again", bugs.a_retry_says_the_command_again, (WALK, ORDERS)),
    Mutant("a pending deadline is ignored", bugs.a_pending_deadline_is_ignored, (WALK, ORDERS)),
    Mutant("nobody is called", bugs.people_are_called_and_nobody_knows, (WALK, ORDERS)),
    Mutant("a call outlives its answer", bugs.a_call_outlives_its_answer, (WALK, ORDERS)),
    Mutant(
        "an unusable reply is read as confirmed", bugs.nonsense_is_a_yes, (WORLDS, HARD, HOSTILE)
    ),
    Mutant(
        "a contradiction replaces the verdict", bugs.a_contradiction_wins, (HARD, ORDERS), (WALK,)
    ),
    Mutant("a late yes is dropped", bugs.a_late_yes_is_dropped, (HARD, ORDERS), (WALK,)),
    Mutant("a dispute is overwritten", bugs.a_dispute_is_overwritten, (ORDERS,), (WALK,)),
    Mutant(
        "a decided dispute comes again", bugs.a_decided_dispute_comes_again, (HARD, ORDERS), (WALK,)
    ),
    Mutant("a reply overrules people", bugs.a_reply_overrules_people, (WALK, ORDERS)),
    Mutant("nothing was to be given back", bugs.there_was_nothing_to_give_back, (HARD,), (WALK,)),
    Mutant(
        "what was undone was never done",
        bugs.what_was_undone_was_never_done,
        (HARD, ORDERS),
        (WALK,),
    ),
    Mutant("undo starts from silence", bugs.undo_on_silence, (WALK, ORDERS)),
    Mutant("undone twice", bugs.undone_twice, (WALK, WORLDS, HARD, ORDERS)),
    Mutant("the whole price is returned", bugs.returns_the_whole_price, (HARD, ORDERS), (WALK,)),
    Mutant(
        "an unknown line is not reserved",
        bugs.an_unknown_line_is_not_reserved,
        (HARD, ORDERS, HOSTILE),
        (WALK,),
    ),
    Mutant("a return is rounded up", bugs.rounds_for_the_member, (ORDERS, HOSTILE), (WALK,)),
    Mutant("a refused return ends the saga", bugs.a_return_may_be_refused, (WALK, HARD, ORDERS)),
    Mutant("a loss is not booked", bugs.a_loss_is_not_booked, (HARD, ORDERS, HOSTILE), (WALK,)),
    Mutant(
        "a loss stays though it was none", bugs.a_loss_stays_though_it_was_none, (ORDERS,), (WALK,)
    ),
    Mutant(
        "a written off return is not booked",
        bugs.a_written_off_return_is_returned,
        (WALK, HARD, ORDERS),
    ),
    Mutant("the final result is said twice", bugs.final_said_twice, (WALK, HARD, ORDERS, HOSTILE)),
    Mutant(
        "a correction keeps its revision",
        bugs.a_correction_has_the_old_revision,
        (WALK, HARD, ORDERS),
    ),
    Mutant("a correction is not told", bugs.corrections_are_not_told, (WALK, HARD, ORDERS)),
    Mutant("withdrawn after the pivot", bugs.withdrawn_after_the_pivot, (ORDERS,), (WALK,)),
    Mutant(
        "fresh again by a clock's step",
        bugs.the_clock_steps_back_into_freshness,
        (ORDERS,),
        (WALK,),
    ),
    Mutant(
        "a confirmation is booked again", bugs.booked_again, (WALK, WORLDS, HARD, ORDERS, HOSTILE)
    ),
    Mutant("nobody asks about a pending leg", bugs.pending_is_forgotten, (WALK, ORDERS, HOSTILE)),
    Mutant("the limit is never released", bugs.the_limit_is_kept, (WORLDS, HARD, HOSTILE)),
    Mutant(
        "the limit is released in doubt", bugs.the_limit_is_freed_in_doubt, (WORLDS, HARD, HOSTILE)
    ),
    Mutant("a correction leaves the limit", bugs.a_correction_leaves_the_limit, (HARD,)),
    Mutant("a batch does not see its own limits", bugs.a_batch_is_blind, (LIMITS, WORLDS)),
    Mutant(
        "a redelivered record says nothing", bugs.redelivery_is_ignored, (WORLDS, HARD, HOSTILE)
    ),
    Mutant("a redelivered record counts as new", bugs.redelivery_is_new, (WORLDS, HOSTILE)),
    Mutant("a duplicate begins again", bugs.a_duplicate_is_new, (WORLDS, HARD, HOSTILE)),
    Mutant("an echo is answered", bugs.an_echo_is_answered, (ECHO, HARD)),
    Mutant("a repeat carries another time", bugs.repeats_say_the_time, (WORLDS, HOSTILE)),
    Mutant("a repeat counts what began since", bugs.a_repeat_counts_what_began_since, (HARD,)),
)
