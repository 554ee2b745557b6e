"""The proofs by name, in the order in which they run, and what each of them says; imports nothing."""

DESCRIPTIONS: dict[str, str] = {
    "conservation": "Every change of equity is a named flow computed from quotes, and an independent ledger agrees to "
    "a cent.",
    "martingale_exact": "Where prices hold no premium (P = Q), one step from any account earns nothing, by quadrature "
    "over tomorrow's spot.",
    "martingale_sampled": "Where P = Q, every policy loses over whole episodes exactly what its trades cost.",
    "no_look_ahead": "Whatever comes after a moment, everything seen, allowed and filled until then stays the same "
    "to the last bit.",
    "fees_never_help": "With contracts and quantities fixed, a higher cost never makes any account richer, and some "
    "account poorer.",
    "training_worlds": "In worlds generated to train in, money is conserved, no future is seen, nothing is free where "
    "P = Q, and the reward less its surprise expects what the reward does.",
    "invariance": "Who else is in the batch, in what order and at what precision, changes no account's story.",
}
"""One sentence per proof. `clstm_core.audit.run` binds each name to its code in `clstm_core/audit/proofs/<name>.py`."""

PROOFS: tuple[str, ...] = tuple(DESCRIPTIONS)
"""Names of the proofs; the size of an audit changes how long each looks, never what it asks."""
