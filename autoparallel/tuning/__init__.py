"""What batch and microbatch to look at: the only importer of optuna."""
