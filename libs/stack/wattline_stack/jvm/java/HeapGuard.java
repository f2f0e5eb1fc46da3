import java.lang.management.ManagementFactory;
import java.lang.management.MemoryPoolMXBean;
import java.lang.management.MemoryType;
import java.util.concurrent.TimeUnit;

/**
 * Says whether there is still room for data on the heap, so that the store can refuse a write instead of dying of it.
 *
 * <p>What counts is the old generation: data end there, and garbage in it is told from data by collecting, at most
 * once in two seconds.
 */
final class HeapGuard {
    /** Decoded documents take about this many times their BSON size (measured: 3 to 4). */
    private static final int EXPANSION = 4;
    private static final long COLLECT_PAUSE_NS = TimeUnit.SECONDS.toNanos(2);

    private final MemoryPoolMXBean old;
    private final long maxBytes;
    private long collectedAtNs = System.nanoTime() - COLLECT_PAUSE_NS;

    HeapGuard() {
        old = ManagementFactory.getMemoryPoolMXBeans().stream()
                .filter(pool -> pool.getType() == MemoryType.HEAP && pool.getName().matches(".*(Old|Tenured).*"))
                .findFirst().orElseThrow(() -> new IllegalStateException("this JVM has no old generation"));
        maxBytes = old.getUsage().getMax();
    }

    long usedBytes() {
        return old.getUsage().getUsed();
    }

    long maxBytes() {
        return maxBytes;
    }

    /** True when {@code bsonBytes} more would fill more than {@code share} of the old generation. */
    synchronized boolean isFullFor(long bsonBytes, double share) {
        long limit = (long) (maxBytes * share) - EXPANSION * bsonBytes;
        if (usedBytes() <= limit) {
            return false;
        }
        long now = System.nanoTime();
        if (now - collectedAtNs >= COLLECT_PAUSE_NS) {
            System.gc();
            collectedAtNs = System.nanoTime();
        }
        return usedBytes() > limit;
    }
}
