"""The feedback loop: a champion that trades in shadow, challengers trained from it, and the rules between them.

challenger: a policy that was trained since, judged beside the champion on days that neither was trained on
champion:   the one policy that a deployer loads; another takes its place by rules alone, atomically
"""
