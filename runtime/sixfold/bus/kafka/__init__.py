"""The Kafka back end of the bus, on aiokafka. `client.KafkaBus` is its face; nothing of aiokafka shows through it."""

import logging

# aiokafka tells of every retry as a warning or an error. Whoever sets up logging gets it; nobody's terminal does.
logging.getLogger("aiokafka").addHandler(logging.NullHandler())
