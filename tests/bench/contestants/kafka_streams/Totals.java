import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.time.Instant;
import java.util.Set;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

/** Counts an event once, and forwards what the totals of its minute and month are then: n, and hundredths. */
final class Totals implements Processor<String, byte[], String, byte[]> {
    static final String IDS = "ids";
    static final String SUMS = "sums";
    private static final Set<String> TYPES = Set.of("api_call", "storage", "completion", "build", "request");
    private static final long GRACE_MS = 48L * 3_600_000;
    private static final byte[] SEEN = {1};

    private final ObjectMapper json = new ObjectMapper();
    private ProcessorContext<String, byte[]> context;
    private KeyValueStore<String, byte[]> ids;
    private KeyValueStore<String, byte[]> sums;

    @Override
    public void init(ProcessorContext<String, byte[]> given) {
        context = given;
        ids = given.getStateStore(IDS);
        sums = given.getStateStore(SUMS);
    }

    @Override
    public void process(Record<String, byte[]> record) {
        Marks.first();
        JsonNode event = parsed(record.value());
        if (event == null) {
            return;
        }
        String at = event.path("timestamp").asText();
        String meter = event.path("event_type").asText();
        if (!TYPES.contains(meter) || Instant.parse(at).toEpochMilli() < record.timestamp() - GRACE_MS) {
            return;
        }
        String id = event.path("event_id").asText();
        if (ids.get(id) != null) {
            return;
        }
        ids.put(id, SEEN);
        long hundredths = event.path("quantity").decimalValue().movePointRight(2).longValueExact();
        String series = event.path("customer_id").asText() + "\t" + meter + "\t";
        add("minute\t" + series + at.substring(0, 16) + ":00Z", hundredths, record);
        add("period\t" + series + at.substring(0, 7) + "-01T00:00:00Z", hundredths, record);
    }

    private JsonNode parsed(byte[] payload) {
        try {
            return json.readTree(payload);
        } catch (IOException invalid) {
            return null;
        }
    }

    private void add(String key, long hundredths, Record<String, byte[]> record) {
        byte[] before = sums.get(key);
        ByteBuffer now = ByteBuffer.allocate(16);
        ByteBuffer old = before == null ? ByteBuffer.allocate(16) : ByteBuffer.wrap(before);
        now.putLong(old.getLong() + 1).putLong(old.getLong() + hundredths);
        sums.put(key, now.array());
        context.forward(record.withKey(key).withValue(now.array()));
    }
}
