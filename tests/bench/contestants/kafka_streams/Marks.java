import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** Says once when the first record was consumed, for the harness. */
final class Marks {
    private static volatile boolean done;

    private Marks() {}

    static void first() {
        if (done) {
            return;
        }
        done = true;
        Path file = Path.of(System.getenv("CONTEST_WORK"), "first");
        try {
            if (!Files.exists(file)) {
                Files.writeString(file, Double.toString(System.currentTimeMillis() / 1e3));
            }
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
