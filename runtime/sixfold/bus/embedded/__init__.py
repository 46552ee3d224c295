"""The embedded bus: a durable log in one SQLite file for one machine.

One process owns the file (`ownership`), its `server` thread commits for everyone in groups (`committer`), wakes waiting
readers (`polls`) and coordinates consumer groups (`coordinator`). Every process, the owner's own included, reaches it
through a Unix socket (`link`). When the owner dies, a client takes its place and the others reconnect by themselves.
"""
