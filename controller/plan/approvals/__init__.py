"""Plans that somebody approved earlier, and what a later plan may do because of them. Pure."""
