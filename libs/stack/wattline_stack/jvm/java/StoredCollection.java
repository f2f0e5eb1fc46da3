import de.bwaldvogel.mongo.MongoDatabase;
import de.bwaldvogel.mongo.backend.CollectionOptions;
import de.bwaldvogel.mongo.backend.CursorRegistry;
import de.bwaldvogel.mongo.backend.memory.MemoryCollection;
import de.bwaldvogel.mongo.backend.memory.MemoryDatabase;
import de.bwaldvogel.mongo.bson.Document;
import java.util.ArrayDeque;
import java.util.Deque;

/**
 * A collection that can be looked at as it was at one moment while it goes on changing.
 *
 * <p>Documents are changed in place, so the image holds the documents themselves, and gets the old version of one that is
 * changed while the image is in use.
 */
final class StoredCollection extends MemoryCollection {
    /** A database of such collections. */
    static final class Database extends MemoryDatabase {
        Database(String name, CursorRegistry cursors) {
            super(name, cursors);
        }

        @Override
        protected MemoryCollection openOrCreateCollection(String name, CollectionOptions options) {
            return new StoredCollection(this, name, options, cursorRegistry);
        }
    }

    /** What was at each position (null: a hole), and the holes in the order in which they will be filled. */
    record Image(Document[] documents, int[] holes) {
    }

    private final Deque<Integer> holes = new ArrayDeque<>(); // as in the superclass, which shows it to nobody
    private Image image;

    StoredCollection(MongoDatabase database, String name, CollectionOptions options, CursorRegistry cursors) {
        super(database, name, options, cursors);
    }

    /** Take an image of now, and keep it as it is until {@link #releaseImage}. */
    Image takeImage() {
        Document[] documents = new Document[count() + holes.size()];
        streamAllDocumentsWithPosition().forEach(each -> documents[each.getPosition()] = each.getDocument());
        image = new Image(documents, holes.stream().mapToInt(Integer::intValue).toArray());
        return image;
    }

    void releaseImage() {
        image = null;
    }

    @Override
    protected Integer addDocumentInternal(Document document) {
        holes.poll();
        return super.addDocumentInternal(document);
    }

    @Override
    protected void removeDocument(Integer position) {
        holes.add(position);
        super.removeDocument(position);
    }

    @Override
    protected void handleUpdate(Integer position, Document before, Document document) {
        if (image != null && position < image.documents.length && image.documents[position] == document) {
            image.documents[position] = before;
        }
        super.handleUpdate(position, before, document);
    }
}
