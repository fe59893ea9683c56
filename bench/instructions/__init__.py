"""How many instructions the hot paths take, and whether that depends on the number of accepted claims."""
