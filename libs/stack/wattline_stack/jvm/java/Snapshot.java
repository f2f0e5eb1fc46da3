import de.bwaldvogel.mongo.MongoCollection;
import de.bwaldvogel.mongo.bson.Document;
import io.netty.buffer.ByteBuf;
import java.util.ArrayDeque;
import java.util.Collection;
import java.util.List;
import java.util.Queue;
import java.util.stream.Stream;

/**
 * All data as they were at one moment, given out as the write commands that make them anew, in the same order and with
 * the same holes: so a later command finds the same document first, whether it is applied now or replayed.
 *
 * <p>The journal's monitor is held at every call.
 */
final class Snapshot {
    /** A command of a snapshot did not do its work at replay, so data would be missing. */
    static final class NotRestoredException extends RuntimeException {
        private static final long serialVersionUID = 1;

        NotRestoredException(String message) {
            super(message);
        }
    }

    private static final String MARK = "wattlineSnapshot";

    private final Queue<SnapshotPart> parts = new ArrayDeque<>();

    Snapshot(Collection<StoredCollection> collections) {
        collections.forEach(each -> parts.add(new SnapshotPart(each, indexesOf(each))));
    }

    /** Encode the next command; false when there is none left. */
    boolean next(ByteBuf out) {
        while (!parts.isEmpty()) {
            if (parts.peek().next(out)) {
                return true;
            }
            parts.remove().close();
        }
        return false;
    }

    /** Let the collections forget what they kept for this snapshot. */
    void close() {
        parts.forEach(SnapshotPart::close);
        parts.clear();
    }

    static Document mark(Document command) {
        return command.append(MARK, true);
    }

    /** A command of a client may fail at replay as it failed before; one of a snapshot may not. */
    static void requireDone(Document command, Document answer, RuntimeException error) {
        if (command.containsKey(MARK) && (error != null || answer.containsKey("writeErrors"))) {
            throw new NotRestoredException("a command of its snapshot cannot be applied ("
                    + (error != null ? error.getMessage() : answer.get("writeErrors")) + ")");
        }
    }

    /** Descriptions of all indexes, in the order in which the collection asks them. */
    private static List<Document> indexesOf(StoredCollection collection) {
        MongoCollection<?> all = collection.getDatabase().resolveCollection("system.indexes", false);
        List<Document> described = all == null ? List.of() : all.queryAllAsStream()
                .filter(each -> collection.getFullName().equals(each.get("ns"))).map(Document::cloneDeeply).toList();
        return collection.getIndexes().stream().flatMap(index -> {
            List<Document> own = described.stream().filter(each -> index.getName().equals(each.get("name"))).toList();
            return own.isEmpty() ? Stream.of(index.toIndexDescription()) : own.stream(); // none after a move between databases
        }).toList();
    }
}
