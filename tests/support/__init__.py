"""What several test modules share: brokers, buses, members in processes of their own, waiting."""
