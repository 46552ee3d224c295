"""Functions against what really happened, without effects: invoke, record, replay, shadow."""
