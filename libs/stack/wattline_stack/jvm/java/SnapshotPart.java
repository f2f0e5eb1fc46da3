import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.wire.bson.BsonEncoder;
import io.netty.buffer.ByteBuf;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.UUID;
import java.util.stream.IntStream;

/**
 * One collection of a snapshot as commands: create it, insert its documents, empty its holes, make its indexes.
 *
 * <p>A hole is first filled with a stand-in, which is deleted when all documents are there; indexes come last, as
 * stand-ins would not be unique.
 */
final class SnapshotPart {
    private static final int AIM_BYTES = 1 << 16; // writers wait while so much is encoded: about a millisecond
    private static final int LARGEST_BYTES = 16 * AIM_BYTES;
    private static final int MOST_DOCUMENTS = 1000;

    private final StoredCollection collection;
    private final String database;
    private final String name;
    private final List<Document> indexes;
    private final StoredCollection.Image image;
    private final String standIn = "hole-" + UUID.randomUUID() + "-";
    private boolean created;
    private int inserted;
    private int emptied;
    private boolean indexed;
    private int batch = 16;

    SnapshotPart(StoredCollection collection, List<Document> indexes) {
        this.collection = collection;
        this.indexes = indexes;
        database = collection.getDatabaseName();
        name = collection.getCollectionName();
        image = collection.takeImage();
    }

    /** Encode the next command; false when there is none left. */
    boolean next(ByteBuf out) {
        if (!created) {
            created = true;
            encode(new Document("create", name), out);
        } else if (inserted < image.documents().length) {
            encodeInsert(out);
        } else if (emptied < image.holes().length) {
            encodeDelete(out);
        } else if (!indexed) {
            indexed = true;
            encode(new Document("createIndexes", name).append("indexes", indexes), out);
        } else {
            return false;
        }
        return true;
    }

    void close() {
        collection.releaseImage();
    }

    private void encodeInsert(ByteBuf out) {
        int from = inserted;
        int count = Math.min(batch, image.documents().length - from);
        encode(insert(from, count), out);
        while (out.readableBytes() > LARGEST_BYTES && count > 1) {
            count = Math.max(1, count / 4);
            encode(insert(from, count), out);
        }
        batch = (int) Math.clamp((long) count * AIM_BYTES / out.readableBytes(), 1, MOST_DOCUMENTS);
        inserted += count;
        Arrays.fill(image.documents(), from, inserted, null); // what was written need not be kept
    }

    private Document insert(int from, int count) {
        List<Document> documents = new ArrayList<>(count);
        for (int position = from; position < from + count; position++) {
            Document document = image.documents()[position];
            documents.add(document != null ? document : new Document("_id", standIn + position));
        }
        return new Document("insert", name).append("documents", documents).append("ordered", true);
    }

    private void encodeDelete(ByteBuf out) {
        int until = Math.min(emptied + MOST_DOCUMENTS, image.holes().length);
        List<Document> deletes = IntStream.range(emptied, until)
                .mapToObj(each -> new Document("q", new Document("_id", standIn + image.holes()[each])).append("limit", 1))
                .toList();
        emptied = until;
        encode(new Document("delete", name).append("deletes", deletes), out);
    }

    private void encode(Document command, ByteBuf out) {
        out.clear();
        BsonEncoder.encodeDocument(Snapshot.mark(command.append("$db", database)), out);
    }
}
