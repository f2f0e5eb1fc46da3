import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;

/**
 * The append-only file that the store's contents are rebuilt from; {@link Frames} tells its form.
 *
 * <p>Whoever appends, or puts another file in its place ({@link Rewrite}), holds this object's monitor.
 */
final class Journal implements Closeable {
    /** The journal is damaged, or not ours: a person must act. */
    static final class DamagedException extends IOException {
        private static final long serialVersionUID = 1;

        DamagedException(String message) {
            super(message);
        }
    }

    private final Path path;
    private final boolean sync;
    private final FileChannel lock;
    private final long leftoverBytes;
    private final long tornBytes;
    private FileChannel channel;
    private volatile long end;
    private volatile long frames;
    private boolean broken;

    Journal(Path path, boolean sync, JournalReader.Replay replay) throws IOException {
        this.path = path;
        this.sync = sync;
        // A file of its own: the journal's place is taken by another file now and then, and locks stay with files.
        lock = FileChannel.open(path.resolveSibling(path.getFileName() + ".lock"), StandardOpenOption.CREATE,
                StandardOpenOption.WRITE);
        if (lock.tryLock() == null) {
            throw new DamagedException(path + " is in use by another store; stop that one first");
        }
        leftoverBytes = removeLeftover();
        channel = FileChannel.open(path, StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE);
        if (channel.size() < Frames.MAGIC.length) { // new, or killed while its first bytes were written
            channel.truncate(0);
            Frames.writeAll(channel, ByteBuffer.wrap(Frames.MAGIC), 0);
            syncFolder();
        }
        JournalReader reader = new JournalReader(path, channel);
        end = reader.read(body -> {
            try {
                replay.apply(body);
            } catch (Snapshot.NotRestoredException e) {
                throw reader.damaged(e.getMessage());
            }
        });
        frames = reader.frames();
        tornBytes = channel.size() - end;
        channel.truncate(end);
    }

    long frames() {
        return frames;
    }

    long tornBytes() {
        return tornBytes;
    }

    /** Bytes of a rewriting that did not come to its end before the start; they are gone. */
    long leftoverBytes() {
        return leftoverBytes;
    }

    long size() {
        return end;
    }

    /** Append one body; on return it survives the death of this process (of the machine too, with sync). */
    synchronized void append(ByteBuffer body) throws IOException {
        if (broken) {
            throw new IOException(path + " could not be mended after a failed write; restart the store");
        }
        try {
            long next = Frames.write(channel, body, end);
            if (sync) {
                channel.force(false);
            }
            end = next;
            frames++;
        } catch (IOException e) {
            undo(e);
            throw e;
        }
    }

    @Override
    public synchronized void close() throws IOException {
        channel.close();
        lock.close();
    }

    /** Where a rewriting goes before it takes the journal's place. */
    Path newPath() {
        return path.resolveSibling(path.getFileName() + ".new");
    }

    /** Copy what stands from {@code from} on to {@code target}; return where it ended here. */
    long copyTo(FileChannel target, long from) throws IOException {
        long until = end;
        for (long at = from; at < until;) {
            at += channel.transferTo(at, until - at, target);
        }
        return until;
    }

    /**
     * Go on in {@code next}, which stands whole and synced at {@link #newPath()}; the monitor is held.
     *
     * <p>Until the move the old file is complete, from it on the new one is. Return the old file, to be closed.
     */
    FileChannel replaceBy(FileChannel next, long nextFrames) throws IOException {
        long nextEnd = next.size();
        Files.move(newPath(), path, StandardCopyOption.ATOMIC_MOVE);
        FileChannel old = channel;
        channel = next;
        end = nextEnd;
        frames = nextFrames;
        try {
            syncFolder();
        } catch (IOException e) { // after a power cut the old file might be back, without what would be appended now
            broken = true;
            throw e;
        }
        return old;
    }

    boolean writesTo(FileChannel other) {
        return channel == other;
    }

    /** Half a frame must not stand before good ones, or the next start would find damage in the middle. */
    private void undo(IOException cause) {
        try {
            channel.truncate(end);
        } catch (IOException e) {
            broken = true;
            cause.addSuppressed(e);
        }
    }

    private long removeLeftover() throws IOException {
        Path leftover = newPath();
        long bytes = Files.exists(leftover) ? Math.max(1, Files.size(leftover)) : 0;
        Files.deleteIfExists(leftover);
        return bytes;
    }

    /** A new name is durable only when its folder is. */
    private void syncFolder() throws IOException {
        try (FileChannel folder = FileChannel.open(path.toAbsolutePath().getParent(), StandardOpenOption.READ)) {
            folder.force(true);
        }
    }
}
