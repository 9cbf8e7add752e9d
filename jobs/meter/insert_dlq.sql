INSERT INTO dlq_sink SELECT decoded_event.reject FROM decoded WHERE decoded_event.reject IS NOT NULL
