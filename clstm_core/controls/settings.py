"""Which settings a recipe's controls are of, so that a new one at the value that changes nothing keeps them.

Hashing only what differs from the defaults would not do: another default of an old setting is another recipe.
"""

from typing import Any

from clstm_core.config import RunConfig

_FIRST = {
    "env": (
        "capital_usd horizon fill_lag fill_rule fill_fraction commission_per_contract_usd commission_per_share_usd "
        "share_spread_bps borrow_rate risk_fraction assignable_fraction ruin_fraction scan_down scan_up scan_points "
        "scan_vol_shock min_margin_per_short_usd max_net_exposure max_gross_exposure crash_move crash_vol_shock "
        "max_crash_loss max_vega max_premium_sold budget_headroom reward risk_aversion reward_scale risk_penalty "
        "expected_reward"
    ),
    "model": (
        "hidden_dim encoder_layers n_lstm_layers n_heads attention_window memory_steps use_attention dual_trunk "
        "hold_bias"
    ),
    "ppo": (
        "n_envs n_steps batch_size bptt_steps policy_epochs extra_critic_epochs clip_epsilon gamma gae_lambda actor_lr "
        "critic_lr actor_lr_floor critic_lr_floor entropy_start entropy_end max_grad_norm warmup_rollouts "
        "warmup_epochs warmup_lr warmup_encoder_lr target_kl evaluate_every checkpoint_every"
    ),
    "worlds": "historical blocks heston bates history years varied",
}
FIRST = {room: frozenset(names.split()) for room, names in _FIRST.items()}
"""Settings that every control is of, whatever their value: those that there were when the first controls were made."""

LATER: dict[str, dict[str, Any]] = {"env": {}, "model": {}, "ppo": {}, "worlds": {}}
"""Settings that came since, each with the value at which a recipe is what it was without it: its first default.

That stays here when the default becomes another one: controls made before are then no longer of the recipe.
"""

NEVER = {"worlds": frozenset({"seed"})}
"""Settings that controls are not of."""


def taught(config: RunConfig) -> dict[str, dict[str, Any]]:
    """What a recipe teaches and how, as plain JSON types: account, net, PPO and worlds.

    A setting that came later is left out at the value that changes nothing.
    """
    return {name: _counted(name, getattr(config, name)) for name in FIRST}


def _counted(name: str, room: Any) -> dict[str, Any]:
    usual, found = type(room)(), {}
    for setting in room.__dataclass_fields__:
        value = getattr(room, setting)
        unchanged = LATER[name].get(setting, getattr(usual, setting))
        if setting not in NEVER.get(name, ()) and (setting in FIRST[name] or value != unchanged):
            found[setting] = value
    return found
