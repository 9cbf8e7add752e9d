import java.math.BigDecimal;
import java.nio.ByteBuffer;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;

/** Reads committed totals and upserts the last of each key of a batch; only then it commits offsets. */
final class Rows implements Runnable {
    private static final String UPSERT =
        "INSERT INTO %s.%s AS stored VALUES (?, ?, ?::timestamptz, ?, ?) ON CONFLICT (customer, meter, bucket)"
            + " DO UPDATE SET n = excluded.n, total = excluded.total WHERE stored.n < excluded.n";

    private final Map<String, Object> client;
    private final String topic;

    Rows(Map<String, Object> client, String topic) {
        this.client = client;
        this.topic = topic;
    }

    @Override
    public void run() {
        try (var consumer = new KafkaConsumer<>(client, new StringDeserializer(), new ByteArrayDeserializer());
            Connection postgres = DriverManager.getConnection(System.getenv("CONTEST_JDBC"))) {
            postgres.setAutoCommit(false);
            consumer.subscribe(List.of(topic));
            while (true) {
                ConsumerRecords<String, byte[]> read = consumer.poll(Duration.ofMillis(200));
                if (!read.isEmpty()) {
                    write(postgres, read);
                    consumer.commitSync();
                }
            }
        } catch (SQLException error) {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
        }
    }

    private static void write(Connection postgres, ConsumerRecords<String, byte[]> read) throws SQLException {
        Map<String, byte[]> last = new TreeMap<>();
        for (ConsumerRecord<String, byte[]> record : read) {
            last.put(record.key(), record.value());
        }
        String schema = System.getenv("CONTEST_SCHEMA");
        try (PreparedStatement minutes = postgres.prepareStatement(UPSERT.formatted(schema, "minute"));
            PreparedStatement periods = postgres.prepareStatement(UPSERT.formatted(schema, "period"))) {
            for (Map.Entry<String, byte[]> entry : last.entrySet()) {
                String[] key = entry.getKey().split("\t");
                ByteBuffer value = ByteBuffer.wrap(entry.getValue());
                PreparedStatement row = key[0].equals("minute") ? minutes : periods;
                row.setString(1, key[1]);
                row.setString(2, key[2]);
                row.setString(3, key[3]);
                row.setLong(4, value.getLong());
                row.setBigDecimal(5, BigDecimal.valueOf(value.getLong(), 2));
                row.addBatch();
            }
            minutes.executeBatch();
            periods.executeBatch();
        }
        postgres.commit();
    }
}
