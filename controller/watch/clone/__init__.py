"""The service's own clone of a repository: git, the branch that it follows, and its lockfile."""
