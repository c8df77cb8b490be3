"""Training: data, runs, recipes, checkpoints, plots and cards."""
