"""One function's worker, a member of its consumer group: fetch, handle, settle. Begin with `member.py`."""
