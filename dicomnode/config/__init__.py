"""The configuration: what a person writes (YAML), and what the node is handed (frozen models)."""
