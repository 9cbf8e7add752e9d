INSERT INTO ${into}dlq_sink SELECT record FROM dead_letters
