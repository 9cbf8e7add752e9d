import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.state.Stores;

/** Kafka Streams in exactly_once_v2: ids and totals in RocksDB, totals to a topic, from there to Postgres. */
public final class Contestant {
    private Contestant() {}

    public static void main(String[] arguments) {
        String group = System.getenv("CONTEST_GROUP");
        String output = System.getenv("CONTEST_OUTPUT");
        KafkaStreams streams = new KafkaStreams(topology(System.getenv("CONTEST_TOPIC"), output), options(group));
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
        new Thread(new Rows(client(group + "-rows"), output), "rows").start();
    }

    private static Topology topology(String input, String output) {
        var strings = Serdes.String();
        var bytes = Serdes.ByteArray();
        return new Topology()
            .addSource("events", strings.deserializer(), bytes.deserializer(), input)
            .addProcessor("totals", Totals::new, "events")
            .addStateStore(Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(Totals.IDS), strings, bytes), "totals")
            .addStateStore(Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(Totals.SUMS), strings, bytes).withCachingEnabled(), "totals")
            .addSink("out", output, strings.serializer(), bytes.serializer(), "totals");
    }

    private static Properties options(String group) {
        Properties options = new Properties();
        options.put(StreamsConfig.APPLICATION_ID_CONFIG, group);
        options.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, System.getenv("CONTEST_BOOTSTRAP"));
        options.put(StreamsConfig.STATE_DIR_CONFIG, System.getenv("CONTEST_WORK") + "/state");
        options.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        options.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1_000);
        options.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        options.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        options.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        options.put(StreamsConfig.producerPrefix("compression.type"), "lz4");
        return options;
    }

    private static Map<String, Object> client(String group) {
        return Map.of(
            ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, System.getenv("CONTEST_BOOTSTRAP"),
            ConsumerConfig.GROUP_ID_CONFIG, group,
            ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest",
            ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false,
            ConsumerConfig.MAX_POLL_RECORDS_CONFIG, 20_000,
            ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed");
    }
}
