"""Redis (or Valkey) behind the broker, generation store, lease and presence ports: one script per verb."""
