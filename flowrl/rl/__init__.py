"""Reinforcement learning: networks, PPO, rollouts, the slot trainer. Knows arrays, not Craftax, not LLMs."""
