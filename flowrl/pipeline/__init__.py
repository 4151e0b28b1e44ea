"""The loop and its stages: propose, check, plan, prepare, train, validate, commit."""
