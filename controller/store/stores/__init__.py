"""The stores: a shared folder, buckets, the hub; each is probed before it is trusted."""
