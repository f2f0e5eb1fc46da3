import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import java.io.IOException;
import java.util.Collection;
import java.util.function.Supplier;

/**
 * Writes the journal anew from a snapshot when it has grown far beyond the data, while the store goes on serving.
 *
 * <p>Writers wait three times, each for milliseconds: while the snapshot is begun, while a piece of it is encoded, and
 * while the end of the old file is copied and the new one takes its place.
 */
final class Compactor {
    /** A journal of less than so many times the data is read nearly as fast as a new one would be. */
    private static final int MOST_TIMES_THE_DATA = 4;

    private final Journal journal;
    private final long smallestBytes;
    private final Supplier<Collection<StoredCollection>> collections;
    private long nextLookBytes;
    private volatile boolean running;
    private volatile long done;
    private volatile long longestPauseNs;

    Compactor(Journal journal, long smallestBytes, Supplier<Collection<StoredCollection>> collections) {
        this.journal = journal;
        this.smallestBytes = smallestBytes;
        this.collections = collections;
        nextLookBytes = smallestBytes;
    }

    long done() {
        return done;
    }

    boolean isRunning() {
        return running;
    }

    /** For how long writers waited at most, since the start. */
    double longestPauseMs() {
        return longestPauseNs / 1e6;
    }

    /** Begin when it is time. The journal's monitor is held, and what was appended has been applied. */
    void consider() {
        if (running || journal.size() < nextLookBytes) {
            return;
        }
        long startNs = System.nanoTime();
        lookLater();
        try {
            Collection<StoredCollection> all = collections.get();
            if (journal.size() > MOST_TIMES_THE_DATA * bytesOf(all)) {
                begin(all);
            }
        } catch (IOException | RuntimeException e) { // the command that brought us here was done
            report(e);
        }
        held(System.nanoTime() - startNs);
    }

    private void begin(Collection<StoredCollection> all) throws IOException {
        Rewrite rewrite = new Rewrite(journal);
        Snapshot snapshot = new Snapshot(all);
        running = true;
        Thread thread = new Thread(() -> compact(rewrite, snapshot), "compactor");
        thread.setDaemon(true);
        thread.start();
    }

    private static long bytesOf(Collection<StoredCollection> all) {
        return all.stream().mapToLong(each -> ((Number) each.getStats().get("size")).longValue()).sum();
    }

    private void compact(Rewrite rewrite, Snapshot snapshot) {
        long startNs = System.nanoTime();
        long before = journal.size();
        try (rewrite) {
            writeAll(snapshot, rewrite);
            held(rewrite.finish());
            done++;
            System.out.printf("journal: compacted from %d to %d bytes in %d ms%n", before, journal.size(),
                    (System.nanoTime() - startNs) / 1_000_000);
        } catch (IOException | RuntimeException e) {
            report(e);
        } finally {
            synchronized (journal) {
                snapshot.close();
                lookLater();
                running = false; // after the count, so that whoever sees it at rest sees what it did
            }
        }
    }

    private void writeAll(Snapshot snapshot, Rewrite rewrite) throws IOException {
        ByteBuf buffer = Unpooled.buffer(1 << 19);
        while (true) {
            synchronized (journal) {
                long startNs = System.nanoTime();
                boolean more = snapshot.next(buffer);
                held(System.nanoTime() - startNs);
                if (!more) {
                    return;
                }
            }
            rewrite.add(buffer.nioBuffer());
        }
    }

    /** What is not yet too long, or could not be made shorter, is looked at again when it has grown by a quarter. */
    private void lookLater() {
        nextLookBytes = Math.max(smallestBytes, journal.size() + journal.size() / 4);
    }

    private void held(long forNs) {
        longestPauseNs = Math.max(longestPauseNs, forNs);
    }

    private static void report(Exception error) {
        System.out.printf("journal: not compacted, it goes on growing (%s)%n", error);
    }
}
