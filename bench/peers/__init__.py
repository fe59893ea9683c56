"""The same shapes through other block managers, each in an interpreter of its own."""
