"""A schema registry in the log, with the REST API that Confluent's clients speak."""
