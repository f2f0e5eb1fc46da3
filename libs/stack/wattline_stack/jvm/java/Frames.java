import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.util.zip.CRC32;

/**
 * The form of a journal file: eight bytes of magic, then frames.
 *
 * <p>A frame is an int32 length of the body, an int32 CRC-32 of the body, and the body, one BSON document, which begins
 * with its length once more. Little-endian throughout.
 */
final class Frames {
    static final byte[] MAGIC = "WLJRNL1\n".getBytes(StandardCharsets.US_ASCII);
    static final int HEADER_BYTES = 8;
    static final int SMALLEST_BODY_BYTES = 5; // an empty BSON document
    static final int LARGEST_BODY_BYTES = 64 << 20; // the wire protocol allows 48 MB

    private Frames() {
    }

    /** Write one frame at {@code at}; return where the next one goes. */
    static long write(FileChannel channel, ByteBuffer body, long at) throws IOException {
        int length = body.remaining();
        ByteBuffer header = ByteBuffer.allocate(HEADER_BYTES).order(ByteOrder.LITTLE_ENDIAN);
        header.putInt(length).putInt(crcOf(body)).flip();
        writeAll(channel, header, at);
        writeAll(channel, body, at + HEADER_BYTES);
        return at + HEADER_BYTES + length;
    }

    static void writeAll(FileChannel channel, ByteBuffer bytes, long at) throws IOException {
        for (long position = at; bytes.hasRemaining();) {
            position += channel.write(bytes, position);
        }
    }

    /** True when a body may be {@code length} bytes long where {@code room} bytes are left. */
    static boolean fits(int length, long room) {
        return length >= SMALLEST_BODY_BYTES && length <= LARGEST_BODY_BYTES && length <= room;
    }

    static int crcOf(ByteBuffer body) {
        CRC32 crc = new CRC32();
        crc.update(body.duplicate());
        return (int) crc.getValue();
    }
}
