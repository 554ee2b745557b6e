"""Planted leaks of what is seen and of who sees it: tomorrow, other windows, other episodes, other accounts."""

import dataclasses

import torch

from clstm_core.env import actions, options_env, step, table_view, turn
from clstm_core.env import columns as col
from clstm_core.env.options_env import OptionsEnv
from tests.audit.plant import change_table, wrap


def fill_at_tomorrows_quote(patch):
    def later(table, market, config, *_):
        following = torch.where(market.next_row_Q >= 0, market.next_row_Q, torch.arange(market.n_rows))
        tomorrow = table.row_QC[following]
        row = table.row_QC.clone()
        row[:, col.BUY], row[:, col.SELL] = tomorrow[:, col.BUY], tomorrow[:, col.SELL]
        return dataclasses.replace(table, row_QC=row)

    wrap(patch, "derive", later, table_view)


def marks_from_the_next_snapshot(patch):
    def peek(row, market):
        goes_on = market.next_row_Q >= 0
        row[goes_on, col.MARK] = market.mark_Q[market.next_row_Q[goes_on]].to(row)

    change_table(patch, peek)


def mask_peeks_ahead(patch):
    def peek(standing, view, config, account, book):
        ahead = (account.snapshot_index_N + 1).clamp(max=len(view.features_TF) - 1)
        _, mask_NA = actions.sizes_and_mask(view.offered(ahead), account, book, view.move_S, config)
        return standing._replace(mask_NA=mask_NA)

    wrap(patch, "stand", peek, turn, options_env)


def features_of_tomorrow(patch):
    def peek(seen, view, account, book):
        ahead = (account.snapshot_index_N + 1).clamp(max=len(view.features_TF) - 1)
        seen[:, 0] = view.features(ahead)[:, 0]
        return seen

    wrap(patch, "observe_accounts", peek, turn, options_env)


def final_observation_after_the_reset(patch):
    honest = OptionsEnv.step_orders

    def late(self, orders):
        result = honest(self, orders)
        done = (result.terminated | result.truncated)[:, None]
        return result._replace(final_observation=torch.where(done, result.observation, result.final_observation))

    patch.setattr(OptionsEnv, "step_orders", late)


def observation_of_the_step_before(patch):
    honest = OptionsEnv.step_orders

    def old(self, orders):
        seen, _ = self.observe()
        return honest(self, orders)._replace(final_observation=seen)

    patch.setattr(OptionsEnv, "step_orders", old)


def money_kept_across_a_reset(patch):
    def richer(account, *_):
        return account._replace(cash_N=torch.where(account.episode_N > 0, account.cash_N + 1.0, account.cash_N))

    wrap(patch, "fresh_accounts", richer, turn, options_env)


def episodes_beyond_the_window(patch):
    wrap(
        patch,
        "last_snapshots",
        lambda last, segment_end_T, stop: (last + 3).clamp(max=len(last) - 1),
        options_env,
        table_view,
    )


def observations_scaled_by_all_dates(patch):
    def everything(fitted, market, device):
        mean, std = fitted
        features = market.features_TF
        mean[: features.shape[1]] = features.mean(dim=0)
        return mean, std

    wrap(patch, "scaler", everything, options_env)


def accounts_share_a_purse(patch):
    def pooled(flows, *_):
        return flows._replace(interest=flows.interest.mean().expand_as(flows.interest))

    wrap(patch, "holding_flows", pooled, step)


def a_leg_becomes_its_neighbour(patch):
    honest = table_view.TableView.next_row

    def neighbour(self, row):
        after = honest(self, row)
        beside = (after + 1).clamp(max=len(self.row_contract_Q) - 1)
        swap = (after >= 0) & (after % 31 == 0) & (self.next_row_Q[beside] >= 0)
        return torch.where(swap, beside, after)

    patch.setattr(table_view.TableView, "next_row", neighbour)
