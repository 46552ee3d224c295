"""The volume's protocol as pure state machines: no I/O, no clock, no randomness, no runtime.

`quorum` has the thresholds, `epoch` the writers' numbers, `layout` the copies and their places; `node` is a storage
copy, `tracker` finds the durable LSN, `sequencer` is the writer, `recovery` takes a volume over, `repair` fills gaps for
the writer and `gossip` without it, `replica` is a read replica and `readpoints` counts who reads. The same code runs in production, in tests and in a simulator.
"""
