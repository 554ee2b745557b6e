"""What the rules of a promotion ask, in a sentence each and in the order that they are read. Plain Python."""

RULES = {
    "qualified": "It passed every stage of its making, and its bundle is not labelled UNQUALIFIED.",
    "own_champion": "It was held against the champion that stands now, or against cash where none does.",
    "unseen_days": "The days that it is judged on came after all that it or the champion was trained or chosen on.",
    "enough_days": "It is judged on at least as many sessions as its plan registered.",
    "fresh_look": "It was not decided on these days before, and the year's number of looks is not spent.",
    "not_rolled_back": "It was never rolled back before.",
    "not_luck": "In fair worlds, where nothing can be earned, luck seldom looks as good against cash.",
    "superior": "The paired bootstrap's lower bound of its growth less the champion's is above zero.",
    "evidence": "A bettor who wins only where it grows more than the champion came to enough, day by day.",
    "drawdown": "Its largest fall from a peak is at most the champion's and a margin, or within the plan's floor.",
    "tails": "Its worst sessions cost at most what the champion's do and a margin, or lie within the plan's floor.",
    "regimes": "In no tercile of volatility is it told to be worse than the champion.",
    "parity": "Its exports decide as the trained network does.",
    "latency": "One decision takes less than the plan's limit in half of all cases.",
    "regression": "Nothing that the champion could do was lost: the regression stage passed.",
    "shadow_harm": "In shadow, beside the champion, it was not found to do harm.",
    "shadow_no_worse": "In shadow, over the registered sessions, it was found to be no worse by more than a margin.",
}
