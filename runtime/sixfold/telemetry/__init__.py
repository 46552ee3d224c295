"""What a process says of itself: logs, counters and their metrics, spans."""
