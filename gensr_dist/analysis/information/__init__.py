"""Mutual information of a model's input and its answer: estimators, channels that check them, the analysis."""
