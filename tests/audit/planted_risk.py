"""Planted leaks of risk: margin, sizes and the risk budget."""

import dataclasses

import pytest
import torch

from clstm_core.env import actions, budget, record, step, trading, turn
from clstm_core.env import columns as col
from tests.audit.plant import wrap


def mask_without_the_budget(patch):
    def ask_the_others(room, *_):
        return torch.cat([room[:, :3], torch.full_like(room[:, 3:], 1e30)], dim=1)

    wrap(patch, "room_for", ask_the_others, actions)


def mask_up_to_the_whole_budget(patch):
    wrap(patch, "room_for", lambda room, *_: torch.cat([room[:, :3], room[:, 3:] / 0.9], dim=1), actions)


def hedges_beyond_the_budget(patch):
    wrap(patch, "may_hedge", lambda may, *_: torch.ones_like(may), actions)


def fills_beyond_the_budget(patch):
    wrap(patch, "may_fill", lambda may, *_: torch.ones_like(may), trading)


def fills_that_shares_cannot_cure(patch):
    """What an order overshoots is never asked after the trim."""

    def trusting(*args):
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(budget, "trim", lambda book, shares, config: honest_trim(book, 0.0 * shares, config))
            return honest(*args)

    honest, honest_trim = budget.may_fill, budget.trim
    patch.setattr(trading, "may_fill", trusting)


def a_cure_that_does_nothing(patch):
    def idle(cure, *_):
        return cure._replace(shares=0.0 * cure.shares, over=torch.zeros_like(cure.over))

    wrap(patch, "trim", idle, trading)


def a_cure_that_trims_and_never_closes(patch):
    wrap(patch, "trim", lambda cure, *_: cure._replace(over=torch.zeros_like(cure.over)), trading)


def a_cure_of_half_the_shares(patch):
    wrap(patch, "trim", lambda cure, *_: cure._replace(shares=torch.round(0.5 * cure.shares)), trading)


def premium_forgotten_every_day(patch):
    patch.setattr(budget, "PREMIUM_SESSIONS", 1)


def premium_never_forgotten(patch):
    patch.setattr(budget, "PREMIUM_SESSIONS", 10_000)


def premium_forgotten_where_it_was_just_sold(patch):
    """What a lagged order sells at a multiple of 21 goes with what the stretch before it sold."""
    honest = step.still_counted

    def hasty(premium_sold, age, config):
        return honest(premium_sold, age, dataclasses.replace(config, fill_lag=0))

    patch.setattr(step, "still_counted", hasty)


def a_crash_without_its_vol(patch):
    from clstm_core.env import margin

    wrap(patch, "vol_factors", lambda factors, config: (1.0, *factors[1:]), margin)


def a_crash_in_the_margin(patch):
    from clstm_core.env import book

    honest = book.value_book

    def frightened(holdings, facts, spot, move, config):
        valued = honest(holdings, facts, spot, move, config)
        return valued._replace(margin=torch.maximum(valued.margin, -valued.crash))

    for module in (book, step, trading):
        patch.setattr(module, "value_book", frightened)


def gross_exposure_of_the_net(patch):
    from clstm_core.env import book

    honest = book.value_book

    def netted(holdings, *rest):
        valued = honest(holdings, *rest)
        return valued._replace(option_gross=(valued.delta - holdings.shares).abs())

    for module in (book, step, trading):
        patch.setattr(module, "value_book", netted)


def a_budget_that_looks_away_in_the_record(patch):
    wrap(patch, "over_budget", lambda over, *_: torch.zeros_like(over), record)


def no_margin_call(patch):
    honest = trading.liquidate

    def patient(holdings, book, config):
        return honest(holdings, book._replace(margin=torch.zeros_like(book.margin)), config)

    patch.setattr(step, "liquidate", patient)


def half_the_margin(patch):
    def half(requirement, pnl_S, short_contracts, config):
        return 0.5 * requirement

    from clstm_core.env import book

    wrap(patch, "margin_requirement", half, book, actions)


def margin_without_the_multiplier(patch):
    from clstm_core.env import book

    honest = book.value_book

    def per_share(holdings, facts, *rest):
        valued = honest(holdings, facts, *rest)
        plain = facts.clone()
        plain[..., col.MULTIPLIER] = 1.0
        return valued._replace(margin=honest(holdings, plain, *rest).margin)

    for module in (book, step, trading):
        patch.setattr(module, "value_book", per_share)


def margin_of_a_hundred_a_contract(patch):
    from clstm_core.env import book

    honest = book.value_book

    def hundred(holdings, facts, *rest):
        plain = facts.clone()
        plain[..., col.MULTIPLIER] = 100.0
        return honest(holdings, facts, *rest)._replace(margin=honest(holdings, plain, *rest).margin)

    for module in (book, step, trading):
        patch.setattr(module, "value_book", hundred)


def sizes_twice_the_risk(patch):
    wrap(patch, "sizes_and_mask", lambda result, *_: (2 * result[0], result[1]), turn)
