"""Which instances a fleet is made of, exactly."""
