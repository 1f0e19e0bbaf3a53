"""The lockfile: what was built, which build is in production, which job is open."""
