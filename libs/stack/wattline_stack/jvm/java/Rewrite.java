import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.StandardOpenOption;

/**
 * A journal written anew beside the old one: first a snapshot's commands, then what was appended to the old one since.
 *
 * <p>The old file stays complete until the new one, synced, takes its place by one atomic step. Whatever ends it before
 * that leaves a file that the next start removes.
 */
final class Rewrite implements Closeable {
    private static final long SMALL_REST_BYTES = 1 << 16; // copied while writers wait
    private static final int MOST_ROUNDS = 20; // writers may be as fast as the copying

    private final Journal journal;
    private final FileChannel channel;
    private final long framesBefore;
    private long copied;
    private long end;
    private long frames;

    /** Begin; the journal's monitor is held, so that the snapshot is of this very moment. */
    Rewrite(Journal journal) throws IOException {
        this.journal = journal;
        copied = journal.size();
        framesBefore = journal.frames();
        channel = FileChannel.open(journal.newPath(), StandardOpenOption.CREATE, StandardOpenOption.TRUNCATE_EXISTING,
                StandardOpenOption.READ, StandardOpenOption.WRITE);
        Frames.writeAll(channel, ByteBuffer.wrap(Frames.MAGIC), 0);
        end = Frames.MAGIC.length;
    }

    void add(ByteBuffer body) throws IOException {
        end = Frames.write(channel, body, end);
        frames++;
    }

    /** Take the journal's place; return for how long writers waited, in nanoseconds. */
    long finish() throws IOException {
        channel.position(end);
        for (int round = 0; round < MOST_ROUNDS && journal.size() - copied > SMALL_REST_BYTES; round++) {
            copied = journal.copyTo(channel, copied);
            channel.force(true);
        }
        channel.force(true);
        FileChannel old;
        long lockedAtNs;
        synchronized (journal) {
            lockedAtNs = System.nanoTime();
            journal.copyTo(channel, copied);
            channel.force(true);
            old = journal.replaceBy(channel, frames + journal.frames() - framesBefore);
        }
        long heldNs = System.nanoTime() - lockedAtNs;
        old.close(); // frees the old file's room, which takes a while
        return heldNs;
    }

    /** Give up, unless it has taken the journal's place. */
    @Override
    public void close() throws IOException {
        if (!journal.writesTo(channel)) {
            channel.close();
            Files.deleteIfExists(journal.newPath());
        }
    }
}
