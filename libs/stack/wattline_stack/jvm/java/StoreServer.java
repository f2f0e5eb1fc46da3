import de.bwaldvogel.mongo.MongoDatabase;
import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import de.bwaldvogel.mongo.backend.memory.MemoryDatabase;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.bson.ObjectId;
import de.bwaldvogel.mongo.exception.MongoServerError;
import de.bwaldvogel.mongo.wire.bson.BsonDecoder;
import de.bwaldvogel.mongo.wire.bson.BsonEncoder;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import io.netty.channel.Channel;
import io.netty.channel.embedded.EmbeddedChannel;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Set;

/**
 * MongoDB's wire protocol on mongo-java-server's memory, made durable by a journal of write commands.
 *
 * <p>A command is journalled, then applied, under one lock: so the journal's order is the order of application, and
 * replaying it at start gives the same documents. What the server would make up by itself (an _id) is filled in
 * before journalling; what depends on the clock ($currentDate) is refused.
 *
 * <p>Arguments: host, port, journal. Properties: wattline.fsync, wattline.heap.setting (the name users set),
 * wattline.compact.mb (a journal that is smaller is left alone).
 */
public final class StoreServer extends MemoryBackend {
    private static final Set<String> GROWING = Set.of("insert", "createindexes", "create");
    private static final Set<String> CHANGING = Set.of("update", "findandmodify");
    private static final Set<String> SHRINKING = Set.of("delete", "drop", "dropindexes", "deleteindexes",
            "dropdatabase", "renamecollection");
    private static final double SHARE_FOR_GROWTH = 0.85;
    private static final double SHARE_FOR_CHANGE = 0.95; // an update in place may grow too, but little
    private static final int OUT_OF_DISK_SPACE = 14031;
    private static final int EXCEEDED_MEMORY_LIMIT = 146;
    private static final int COMMAND_NOT_SUPPORTED = 115;

    private final HeapGuard heap = new HeapGuard();
    private final ThreadLocal<ByteBuf> buffers = ThreadLocal.withInitial(() -> Unpooled.buffer(1 << 16));
    private final String heapSetting = System.getProperty("wattline.heap.setting", "-Xmx");
    private final Journal journal;
    private final Compactor compactor;
    private long failedAtReplay;

    StoreServer(Path path) throws IOException {
        version(new MongoVersion() {
            @Override
            public List<Integer> getVersionArray() {
                return List.of(5, 0, 0);
            }

            @Override
            public int getWireVersion() {
                return 13; // the least that current drivers speak to
            }
        });
        EmbeddedChannel channel = new EmbeddedChannel();
        journal = new Journal(path, Boolean.getBoolean("wattline.fsync"), body -> replay(channel, body));
        super.handleClose(channel);
        channel.close();
        compactor = new Compactor(journal, Integer.getInteger("wattline.compact.mb", 16) * (1L << 20), this::collections);
    }

    @Override
    public MemoryDatabase openOrCreateDatabase(String name) {
        return new StoredCollection.Database(name, getCursorRegistry());
    }

    @Override
    public Document handleCommand(Channel channel, String database, String command, Document query) {
        String name = command.toLowerCase(java.util.Locale.ROOT);
        boolean out = name.equals("aggregate") && writesOut(query);
        if (!out && !GROWING.contains(name) && !CHANGING.contains(name) && !SHRINKING.contains(name)) {
            return super.handleCommand(channel, database, command, query);
        }
        query.put("$db", database);
        complete(name, query);
        ByteBuf buffer = buffers.get().clear();
        BsonEncoder.encodeDocument(query, buffer);
        synchronized (journal) {
            if (!SHRINKING.contains(name)) {
                refuseWhenFull(buffer.readableBytes(), out || GROWING.contains(name) || upserts(query));
            }
            try {
                journal.append(buffer.nioBuffer());
            } catch (IOException e) {
                throw new MongoServerError(OUT_OF_DISK_SPACE, "OutOfDiskSpace",
                        "the store's journal could not be written (" + e.getMessage() + "); free disk space");
            }
            try {
                return super.handleCommand(channel, database, command, query);
            } finally {
                compactor.consider();
            }
        }
    }

    @Override
    public Document getServerStatus() {
        Document status = super.getServerStatus();
        status.append("wattline", new Document("heap_used_bytes", heap.usedBytes())
                .append("heap_max_bytes", heap.maxBytes()).append("journal_bytes", journal.size())
                .append("journal_commands", journal.frames()).append("torn_bytes", journal.tornBytes())
                .append("compacting", compactor.isRunning()).append("compactions", compactor.done())
                .append("compaction_pause_ms", compactor.longestPauseMs()));
        return status;
    }

    private void replay(EmbeddedChannel channel, byte[] body) throws IOException {
        Document query = BsonDecoder.decodeBson(Unpooled.wrappedBuffer(body));
        String command = query.keySet().iterator().next();
        try {
            Document answer = super.handleCommand(channel, (String) query.get("$db"), command, query);
            Snapshot.requireDone(query, answer, null);
        } catch (Snapshot.NotRestoredException e) {
            throw e;
        } catch (RuntimeException e) {
            Snapshot.requireDone(query, null, e);
            failedAtReplay++; // as it did when it was first applied
        }
    }

    private Collection<StoredCollection> collections() {
        List<StoredCollection> all = new ArrayList<>();
        for (String each : listDatabaseNames()) {
            MongoDatabase database = resolveDatabase(each);
            database.resolveCollection("system.namespaces", true).queryAllAsStream()
                    .map(namespace -> ((String) namespace.get("name")).substring(each.length() + 1))
                    .map(name -> (StoredCollection) database.resolveCollection(name, true)).forEach(all::add);
        }
        return all;
    }

    private void refuseWhenFull(int bytes, boolean grows) {
        if (heap.isFullFor(bytes, grows ? SHARE_FOR_GROWTH : SHARE_FOR_CHANGE)) {
            throw new MongoServerError(EXCEEDED_MEMORY_LIMIT, "ExceededMemoryLimit", String.format(
                    "the embedded store is full (%d of %d MB of its heap are data): reads and deletes go on; "
                            + "raise %s and restart the store, delete runs, or set MONGODB_URI to a real MongoDB",
                    heap.usedBytes() >> 20, heap.maxBytes() >> 20, heapSetting));
        }
    }

    /** Fill in what the server would otherwise make up, differently at each replay. */
    private static void complete(String name, Document query) {
        if (name.equals("insert")) {
            for (Object each : listOf(query.get("documents"))) {
                ((Document) each).putIfAbsent("_id", new ObjectId());
            }
        } else if (name.equals("update")) {
            listOf(query.get("updates")).forEach(each -> completeUpdate((Document) each, "q", "u"));
        } else if (name.equals("findandmodify")) {
            completeUpdate(query, "query", "update");
        }
    }

    private static void completeUpdate(Document update, String filterKey, String changeKey) {
        if (!(update.get(changeKey) instanceof Document change)) {
            return;
        }
        if (change.containsKey("$currentDate")) {
            throw new MongoServerError(COMMAND_NOT_SUPPORTED, "CommandNotSupported",
                    "the embedded store replays its writes at start, so it refuses $currentDate: send the time itself");
        }
        boolean named = update.get(filterKey) instanceof Document filter && filter.containsKey("_id");
        if (!Boolean.TRUE.equals(update.get("upsert")) || named || change.containsKey("_id")) {
            return;
        }
        boolean operators = change.keySet().stream().anyMatch(key -> key.startsWith("$"));
        if (!operators) {
            throw new MongoServerError(COMMAND_NOT_SUPPORTED, "CommandNotSupported",
                    "the embedded store replays its writes at start: a replacing upsert must name its _id");
        }
        Document onInsert = change.get("$setOnInsert") instanceof Document given ? given : new Document();
        onInsert.putIfAbsent("_id", new ObjectId());
        change.put("$setOnInsert", onInsert);
    }

    private static boolean upserts(Document query) {
        return Boolean.TRUE.equals(query.get("upsert")) || listOf(query.get("updates")).stream()
                .anyMatch(each -> Boolean.TRUE.equals(((Document) each).get("upsert")));
    }

    private static boolean writesOut(Document query) {
        return listOf(query.get("pipeline")).stream().anyMatch(each -> each instanceof Document stage
                && (stage.containsKey("$out") || stage.containsKey("$merge")));
    }

    private static Collection<?> listOf(Object value) {
        return value instanceof Collection<?> items ? items : List.of();
    }

    public static void main(String[] arguments) throws Exception {
        long startNs = System.nanoTime();
        StoreServer backend;
        try {
            backend = new StoreServer(Path.of(arguments[2]));
        } catch (Journal.DamagedException e) {
            System.out.println("refused: " + e.getMessage());
            System.exit(4);
            return;
        }
        MongoServer server = new MongoServer(backend);
        server.bind(arguments[0], Integer.parseInt(arguments[1]));
        Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
        Journal journal = backend.journal;
        if (journal.leftoverBytes() > 0) {
            System.out.printf("journal: unfinished compaction removed, %d bytes%n", journal.leftoverBytes());
        }
        if (journal.tornBytes() > 0) {
            System.out.printf("journal: torn tail cut, %d bytes (never acknowledged)%n", journal.tornBytes());
        }
        System.out.printf("journal: replayed %d commands, %d bytes, in %d ms; %d had failed before too%n", journal.frames(),
                journal.size(), (System.nanoTime() - startNs) / 1_000_000, backend.failedAtReplay);
        System.out.println("ready");
        synchronized (journal) {
            backend.compactor.consider();
        }
        Thread.currentThread().join();
    }
}
