"""The games: adapters over the stock craftax package. The only place that imports craftax."""
