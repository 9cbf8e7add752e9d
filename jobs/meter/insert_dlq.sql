INSERT INTO dlq_sink SELECT record FROM dead_letters
