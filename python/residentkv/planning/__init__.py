"""Questions asked before anything is claimed: what did the pool do under this traffic, and what would claims change."""
