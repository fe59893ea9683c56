"""The Resident KV claim contract as plain values and pure functions. Imports nothing but the standard library."""
