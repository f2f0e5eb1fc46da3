"""The stream: Kafka to Spark to MongoDB. Checks, stores and aggregates training events, each exactly once in effect."""
