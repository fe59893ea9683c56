"""The stateful objects: a facade over the native block manager, and the claims, events and decisions around it."""
