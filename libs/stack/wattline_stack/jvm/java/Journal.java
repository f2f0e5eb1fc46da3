import java.io.Closeable;
import java.io.DataInputStream;
import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.MappedByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.zip.CRC32;

/**
 * The append-only file that the store's contents are rebuilt from.
 *
 * <p>Eight bytes of magic, then frames: int32 length of the body, int32 CRC-32 of the body, body (one BSON document).
 * Little-endian throughout. A frame that was cut off by a crash was never acknowledged, so a bad end of the file is cut
 * away; a bad frame with a good one behind it is damage to acknowledged data, so the journal refuses to open.
 */
final class Journal implements Closeable {
    /** What is done with each body at opening, in the order of writing. */
    interface Replay {
        void apply(byte[] body) throws IOException;
    }

    /** The journal is damaged, or not ours: a person must act. */
    static final class DamagedException extends IOException {
        private static final long serialVersionUID = 1;

        DamagedException(String message) {
            super(message);
        }
    }

    static final byte[] MAGIC = "WLJRNL1\n".getBytes(StandardCharsets.US_ASCII);
    private static final int HEADER_BYTES = 8;
    private static final int SMALLEST_BODY_BYTES = 5; // an empty BSON document
    private static final int LARGEST_BODY_BYTES = 64 << 20; // the wire protocol allows 48 MB

    private final Path path;
    private final FileChannel channel;
    private final boolean sync;
    private long end;
    private boolean broken;
    private long frames;
    private long tornBytes;

    Journal(Path path, boolean sync, Replay replay) throws IOException {
        this.path = path;
        this.sync = sync;
        channel = FileChannel.open(path, StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE);
        FileLock lock = channel.tryLock();
        if (lock == null) {
            throw new DamagedException(path + " is in use by another store; stop that one first");
        }
        if (channel.size() < MAGIC.length) { // new, or killed while its first bytes were written
            channel.truncate(0);
            write(ByteBuffer.wrap(MAGIC), 0);
        }
        end = read(replay);
        tornBytes = channel.size() - end;
        channel.truncate(end);
    }

    long frames() {
        return frames;
    }

    long tornBytes() {
        return tornBytes;
    }

    long size() {
        return end;
    }

    /** Append one body; on return it survives the death of this process (of the machine too, with sync). */
    void append(ByteBuffer body) throws IOException {
        if (broken) {
            throw new IOException(path + " could not be mended after a failed write; restart the store");
        }
        CRC32 crc = new CRC32();
        crc.update(body.duplicate());
        int bytes = HEADER_BYTES + body.remaining();
        ByteBuffer header = ByteBuffer.allocate(HEADER_BYTES).order(ByteOrder.LITTLE_ENDIAN);
        header.putInt(body.remaining()).putInt((int) crc.getValue()).flip();
        try {
            write(header, end);
            write(body, end + HEADER_BYTES);
            if (sync) {
                channel.force(false);
            }
        } catch (IOException e) {
            undo(e);
            throw e;
        }
        end += bytes;
        frames++;
    }

    @Override
    public void close() throws IOException {
        channel.close();
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

    private void write(ByteBuffer bytes, long at) throws IOException {
        for (long position = at; bytes.hasRemaining();) {
            position += channel.write(bytes, position);
        }
    }

    private long read(Replay replay) throws IOException {
        InputStream raw = Channels.newInputStream(channel.position(0));
        DataInputStream in = new DataInputStream(new BufferedInputStream(raw, 1 << 20));
        if (!java.util.Arrays.equals(in.readNBytes(MAGIC.length), MAGIC)) {
            throw new DamagedException(path + " is not a Wattline journal; move it away, or name another data folder");
        }
        long size = channel.size();
        long offset = MAGIC.length;
        while (size - offset >= HEADER_BYTES) {
            int length = Integer.reverseBytes(in.readInt());
            int expected = Integer.reverseBytes(in.readInt());
            if (!fits(length, size - offset - HEADER_BYTES)) {
                break;
            }
            byte[] body = in.readNBytes(length);
            CRC32 crc = new CRC32();
            crc.update(body);
            if ((int) crc.getValue() != expected) {
                break;
            }
            replay.apply(body);
            offset += HEADER_BYTES + length;
            frames++;
        }
        refuseDamage(offset, size);
        return offset;
    }

    private static boolean fits(int length, long room) {
        return length >= SMALLEST_BODY_BYTES && length <= LARGEST_BODY_BYTES && length <= room;
    }

    /** A good frame behind the bad one means that acknowledged writes would be lost by cutting. */
    private void refuseDamage(long bad, long size) throws IOException {
        long room = Math.min(size - bad, Integer.MAX_VALUE);
        if (room < HEADER_BYTES + SMALLEST_BODY_BYTES) {
            return;
        }
        MappedByteBuffer rest = channel.map(FileChannel.MapMode.READ_ONLY, bad, room);
        rest.order(ByteOrder.LITTLE_ENDIAN);
        for (int at = 1; at <= room - HEADER_BYTES - SMALLEST_BODY_BYTES; at++) {
            int length = rest.getInt(at);
            if (fits(length, room - at - HEADER_BYTES) && rest.getInt(at + HEADER_BYTES) == length
                    && crcOf(rest, at + HEADER_BYTES, length) == rest.getInt(at + 4)) {
                throw new DamagedException(path + " is damaged at offset " + bad + " (" + frames
                        + " good commands before it), and good commands follow from offset " + (bad + at)
                        + ". Nothing was changed. Restore the file from a copy, or, to go on without what came after, cut it: truncate -s "
                        + bad + " " + path);
            }
        }
    }

    private static int crcOf(ByteBuffer from, int at, int length) {
        CRC32 crc = new CRC32();
        crc.update(from.slice(at, length));
        return (int) crc.getValue();
    }
}
