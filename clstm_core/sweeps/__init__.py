"""Sweeps: what a policy learns with, searched by Optuna on worlds and dates that no result is judged on."""
