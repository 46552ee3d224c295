"""The Kafka back end of the bus, on aiokafka. `client.KafkaBus` is its face; nothing of aiokafka shows through it."""

import logging

# aiokafka tells of every retry as a warning or an error. Whoever sets up logging gets it; nobody's terminal does.
logging.getLogger("aiokafka").addHandler(logging.NullHandler())
# At debug it writes every request out; one kind has the password or the token in it.
logging.getLogger("aiokafka.conn").addFilter(lambda record: "SaslAuthenticateRequest" not in record.getMessage())
