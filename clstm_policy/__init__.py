"""A trained policy in use: a bundle's folder, NumPy and ONNX Runtime, nothing else.

from clstm_policy import Policy

policy = Policy.load("data/bundles/demo-sp500_modelled")
decision = policy.act(observation, action_mask)   # once per snapshot; what it remembers is carried inside
print(decision.action, decision.probabilities[decision.action])
"""

from clstm_policy.guard import PolicyError
from clstm_policy.policy import Decision, Policy

__all__ = ["Decision", "Policy", "PolicyError"]
