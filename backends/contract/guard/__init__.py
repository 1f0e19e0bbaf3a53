"""The border of the contract: answers of backends are checked, and errors get words."""
