"""Times and bytes of plans: the only place where either is computed."""
