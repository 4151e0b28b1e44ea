"""What a skill is and how skills chain: facts, operators, plans. Pure Python, no JAX."""
