// Messages of the formats v0 and v1 as Apache's own classes make and convert them: the lines of old_formats.txt.
//   java OldFormats > old_formats.txt
// Lines: "<name> <bytes in hex>".
//   v0-* v1-* v2-*      what MemoryRecordsBuilder makes, from offset 100
//   up-<source>         the same, sent to a leader: LogValidator, base offset 1000, leader epoch 5
//   keep-<source>       the same to a leader whose log has the source's format, from offset 0; keep<codec>-<source>: and this codec
//   upappend- keepappend-  the same on a LogAppendTime topic
//   down<m>-<source>    the same, asked for by an old client from offset 101: MemoryRecords.downConvert
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.*;
import org.apache.kafka.common.utils.BufferSupplier;
import org.apache.kafka.common.utils.PrimitiveRef;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.server.common.MetadataVersion;
import org.apache.kafka.storage.internals.log.AppendOrigin;
import org.apache.kafka.storage.internals.log.LogValidator;

public class OldFormats {
    static final long NOW = 1700000000000L;

    static class NoMetrics implements LogValidator.MetricsRecorder {
        public void recordInvalidMagic() {}
        public void recordInvalidOffset() {}
        public void recordInvalidSequence() {}
        public void recordInvalidChecksums() {}
        public void recordNoKeyCompactedTopic() {}
    }

    static byte[] bytesOf(MemoryRecords records) {
        ByteBuffer from = records.buffer().duplicate();
        byte[] bytes = new byte[from.remaining()];
        from.get(bytes);
        return bytes;
    }

    static MemoryRecords make(byte magic, CompressionType codec, TimestampType type) { return make(magic, codec, type, 100); }

    static MemoryRecords make(byte magic, CompressionType codec, TimestampType type, long base) {
        MemoryRecordsBuilder builder = MemoryRecords.builder(ByteBuffer.allocate(4096), magic, Compression.of(codec).build(), type, base,
            type == TimestampType.LOG_APPEND_TIME ? NOW + 77 : RecordBatch.NO_TIMESTAMP);
        Header[] headers = magic == 2 ? new Header[] {new RecordHeader("h", "x".getBytes()), new RecordHeader("none", null)} : new Header[0];
        long none = RecordBatch.NO_TIMESTAMP;
        builder.append(magic == 0 ? none : NOW, "key-0".getBytes(), "value-0 value-0 value-0".getBytes(), headers);
        builder.append(magic == 0 ? none : NOW + 5, null, "value-1 value-1 value-1".getBytes());
        builder.append(magic == 0 ? none : NOW - 3, "key-2".getBytes(), (byte[]) null);
        return builder.build();
    }

    static MemoryRecords sent(MemoryRecords records, CompressionType codec, CompressionType target, byte magic, TimestampType type) {
        LogValidator validator = new LogValidator(records, new TopicPartition("t", 0), new Time() {
            public long milliseconds() { return NOW + 77; }
            public long hiResClockMs() { return NOW + 77; }
            public long nanoseconds() { return 0; }
            public void sleep(long ms) {}
            public void waitObject(Object o, java.util.function.Supplier<Boolean> condition, long deadline) {}
            public org.apache.kafka.common.utils.Timer timer(long ms) { return null; }
        }, codec, Compression.of(target).build(), false, magic, type, Long.MAX_VALUE, Long.MAX_VALUE, 5, AppendOrigin.CLIENT, MetadataVersion.latestTesting());
        return validator.validateMessagesAndAssignOffsets(PrimitiveRef.ofLong(1000), new NoMetrics(), BufferSupplier.create()).validatedRecords;
    }

    static void put(String name, MemoryRecords records) {
        StringBuilder hex = new StringBuilder();
        for (byte b : bytesOf(records)) hex.append(String.format("%02x", b));
        System.out.println(name + " " + (hex.length() == 0 ? "-" : hex));
    }

    static void down(String name, MemoryRecords records, int magic) {
        put("down" + magic + "-" + name, records.downConvert((byte) magic, 101, Time.SYSTEM).records());
    }

    public static void main(String[] args) throws Exception {
        CompressionType[] codecs = {CompressionType.NONE, CompressionType.GZIP, CompressionType.SNAPPY, CompressionType.LZ4};
        for (CompressionType codec : codecs) {
            for (byte magic = 0; magic <= 2; magic++) {
                for (TimestampType type : new TimestampType[] {TimestampType.CREATE_TIME, TimestampType.LOG_APPEND_TIME}) {
                    if (magic == 0 && type == TimestampType.LOG_APPEND_TIME) continue;
                    String name = "v" + magic + "-" + codec.name + (type == TimestampType.CREATE_TIME ? "" : "-append");
                    MemoryRecords records = make(magic, codec, type);
                    put(name, records);
                    if (magic < 2 && type == TimestampType.CREATE_TIME) {
                        TimestampType create = TimestampType.CREATE_TIME, append = TimestampType.LOG_APPEND_TIME;
                        put("up-" + name, sent(make(magic, codec, type), codec, codec, (byte) 2, create));
                        put("upappend-" + name, sent(make(magic, codec, type), codec, codec, (byte) 2, append));
                        put("keep-" + name, sent(make(magic, codec, type, 0), codec, codec, magic, create));
                        if (magic == 1) put("keepappend-" + name, sent(make(magic, codec, type, 0), codec, codec, magic, append));
                        for (CompressionType target : codecs) {
                            if (target != codec) put("keep" + target.name + "-" + name, sent(make(magic, codec, type, 0), codec, target, magic, create));
                        }
                    }
                    for (int target = magic - 1; target >= 0; target--) down(name, records, target);
                }
            }
        }
        // A transaction's data and marker, and a batch behind it.
        ByteBuffer all = ByteBuffer.allocate(4096);
        MemoryRecordsBuilder data = MemoryRecords.builder(all, (byte) 2, Compression.NONE, TimestampType.CREATE_TIME, 100, -1, 7, (short) 1, 0, true, 3);
        data.append(NOW, "a".getBytes(), "1".getBytes());
        data.append(NOW, "b".getBytes(), "2".getBytes());
        data.close();
        MemoryRecords.writeEndTransactionalMarker(all, 102, NOW, 3, 7, (short) 1, new EndTransactionMarker(ControlRecordType.COMMIT, 9));
        MemoryRecordsBuilder after = MemoryRecords.builder(all, (byte) 2, Compression.NONE, TimestampType.CREATE_TIME, 103, -1);
        after.append(NOW, "c".getBytes(), "3".getBytes());
        after.close();
        all.flip();
        MemoryRecords mixed = MemoryRecords.readableRecords(all);
        put("v2-transaction", mixed);
        down("v2-transaction", mixed, 1);
        down("v2-transaction", mixed, 0);
    }
}
