"""From a size and a budget to a run, and from budgets to a grid of runs."""
