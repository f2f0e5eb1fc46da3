import java.io.BufferedInputStream;
import java.io.DataInputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.Channels;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.util.Arrays;

/**
 * Reads a journal file and tells a torn end, which was never acknowledged, from damage to what was.
 *
 * <p>A process that dies writes less of its last frame than the frame's own lengths say. So a bad frame is torn only
 * when it is the last and reaches beyond the file's end by both of its lengths; a bad one that is whole, or that has a
 * good one behind it, is damage.
 */
final class JournalReader {
    /** What is done with each body, in the order of writing. */
    interface Replay {
        void apply(byte[] body) throws IOException;
    }

    private static final int SECTOR_BYTES = 512;

    private final Path path;
    private final FileChannel channel;
    private long offset = Frames.MAGIC.length;
    private long frames;

    JournalReader(Path path, FileChannel channel) {
        this.path = path;
        this.channel = channel;
    }

    long frames() {
        return frames;
    }

    /** Replay all good frames; return where they end. What is behind is torn and may be cut. */
    long read(Replay replay) throws IOException {
        DataInputStream in = new DataInputStream(
                new BufferedInputStream(Channels.newInputStream(channel.position(0)), 1 << 20));
        if (!Arrays.equals(in.readNBytes(Frames.MAGIC.length), Frames.MAGIC)) {
            throw new Journal.DamagedException(path + " is not a Wattline journal (its first " + Frames.MAGIC.length
                    + " bytes differ); move it away, restore it from a copy, or name another data folder");
        }
        long size = channel.size();
        while (size - offset >= Frames.HEADER_BYTES) {
            int length = Integer.reverseBytes(in.readInt());
            int expected = Integer.reverseBytes(in.readInt());
            if (!Frames.fits(length, size - offset - Frames.HEADER_BYTES)) {
                break;
            }
            byte[] body = in.readNBytes(length);
            if (Frames.crcOf(ByteBuffer.wrap(body)) != expected) {
                break;
            }
            replay.apply(body);
            offset += Frames.HEADER_BYTES + length;
            frames++;
        }
        refuseDamage(size);
        return offset;
    }

    /** Words for damage at the frame that is being read, with what a person can do. */
    Journal.DamagedException damaged(String cause) {
        return new Journal.DamagedException(path + " is damaged at offset " + offset + " (" + frames
                + " good commands before it): " + cause + ". Nothing was changed. Restore the file from a copy, or, to go on"
                + " without this command and what came after, cut it: truncate -s " + offset + " " + path);
    }

    private void refuseDamage(long size) throws IOException {
        if (size - offset < Frames.HEADER_BYTES + Frames.SMALLEST_BODY_BYTES) {
            return;
        }
        int window = (int) Math.min(size - offset, Integer.MAX_VALUE);
        ByteBuffer rest = channel.map(FileChannel.MapMode.READ_ONLY, offset, window).order(ByteOrder.LITTLE_ENDIAN);
        int good = findGoodFrame(rest);
        if (good > 0) {
            throw damaged("good commands follow from offset " + (offset + good));
        }
        if (isWhole(rest) && !endsInZeros(rest)) {
            throw damaged("it is the last one, but whole, so it may have been acknowledged");
        }
        if (size - offset > Frames.HEADER_BYTES + Frames.LARGEST_BODY_BYTES) {
            throw damaged("what follows is longer than any command");
        }
    }

    /** A good frame behind the bad one means that acknowledged writes would be lost by cutting. */
    private static int findGoodFrame(ByteBuffer rest) {
        int last = rest.limit() - Frames.HEADER_BYTES - Frames.SMALLEST_BODY_BYTES;
        for (int at = 1; at <= last; at++) {
            int length = rest.getInt(at);
            int body = at + Frames.HEADER_BYTES;
            if (Frames.fits(length, rest.limit() - body) && rest.getInt(body) == length
                    && Frames.crcOf(rest.slice(body, length)) == rest.getInt(at + Integer.BYTES)) {
                return at;
            }
        }
        return 0;
    }

    /** The length stands in the header and in the body: one that fits is enough, the other may be what is damaged. */
    private static boolean isWhole(ByteBuffer rest) {
        long room = rest.limit() - Frames.HEADER_BYTES;
        return Frames.fits(rest.getInt(0), room) || Frames.fits(rest.getInt(Frames.HEADER_BYTES), room);
    }

    /** A power cut may leave room at the end that was never written. */
    private static boolean endsInZeros(ByteBuffer rest) {
        int from = rest.limit() - SECTOR_BYTES;
        return from >= 0 && rest.slice(from, SECTOR_BYTES).mismatch(ByteBuffer.allocate(SECTOR_BYTES)) < 0;
    }
}
