"""The MQTT edge: one connection, and what waits on disk until the broker has it."""
