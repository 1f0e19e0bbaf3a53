"""The kinds of servers: one file of data for each, and what reads them."""
