"""The function runtime beside its Python peers on one real Kafka: `python -m bench.runtime`. See ../README.md."""
