// Apache's side of test_codecs.py: Kafka's own message classes, found by name.
//   java JavaCodecs random <seed> <n>   n random messages of every message and version that the classes know
//   java JavaCodecs recode < lines      decodes each line with the Java class and prints what the class encodes
// Lines: "<message> <version> <body in hex, - if empty>"; "skip" in place of the body: the class or version is not there.
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.Field;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.TaggedFields;
import org.apache.kafka.common.protocol.types.Type;
import org.apache.kafka.common.utils.ByteUtils;

public class JavaCodecs {
    static final String[] PACKAGES = {
        "org.apache.kafka.common.message.%sData", "org.apache.kafka.common.message.%s", "org.apache.kafka.common.metadata.%s",
        "org.apache.kafka.coordinator.group.generated.%s", "org.apache.kafka.coordinator.transaction.generated.%s",
        "org.apache.kafka.coordinator.share.generated.%s", "org.apache.kafka.server.log.remote.metadata.storage.generated.%s",
        "kafka.internals.generated.%s", "org.apache.kafka.storage.internals.log.generated.%s"};

    static Class<?> classOf(String message) {
        for (String form : PACKAGES) {
            try {
                return Class.forName(String.format(form, message));
            } catch (ClassNotFoundException | NoClassDefFoundError next) {
                // another package
            }
        }
        return null;
    }

    // Our version of a coordinator key is its record type; Java 4.x counts it as version 0 of that type.
    static short javaVersion(Class<?> kind, int version) throws Exception {
        short low = kind.getField("LOWEST_SUPPORTED_VERSION").getShort(null), high = kind.getField("HIGHEST_SUPPORTED_VERSION").getShort(null);
        if (kind.getSimpleName().endsWith("Key") && high == 0) {
            Object message = kind.getConstructor().newInstance();
            if (message instanceof ApiMessage && ((ApiMessage) message).apiKey() == version) return 0;
        }
        return version >= low && version <= high ? (short) version : -1;
    }

    static byte[] recode(Class<?> kind, short version, byte[] body) throws Exception {
        Message message = (Message) kind.getConstructor().newInstance();
        ByteBuffer in = ByteBuffer.wrap(body);
        message.read(new ByteBufferAccessor(in), version);
        if (in.hasRemaining()) throw new IllegalStateException(in.remaining() + " bytes are left");
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer out = ByteBuffer.allocate(message.size(cache, version));
        message.write(new ByteBufferAccessor(out), cache, version);
        return out.array();
    }

    // ---- random bytes that fit a schema

    static Random random;
    static final String[] CHARACTERS = {"a", "B", "7", "-", "\u00e9", "\u4e16", "\ud83d\ude00"};

    static byte[] bytes() {
        byte[] some = new byte[random.nextInt(20) == 0 ? 300 : random.nextInt(9)];
        random.nextBytes(some);
        return some;
    }

    static byte[] text() {
        StringBuilder text = new StringBuilder();
        for (int left = random.nextInt(20) == 0 ? 200 : random.nextInt(9); left > 0; left--) text.append(CHARACTERS[random.nextInt(CHARACTERS.length)]);
        return text.toString().getBytes(StandardCharsets.UTF_8);
    }

    static void big(ByteArrayOutputStream out, long value, int size) {
        for (int shift = 8 * (size - 1); shift >= 0; shift -= 8) out.write((int) (value >> shift));
    }

    static void uvarint(ByteArrayOutputStream out, int value) {
        ByteBuffer small = ByteBuffer.allocate(5);
        ByteUtils.writeUnsignedVarint(value, small);
        out.write(small.array(), 0, small.position());
    }

    static long number() {
        switch (random.nextInt(8)) {
            case 0: return 0;
            case 1: return -1;
            default: return random.nextLong();
        }
    }

    @SuppressWarnings("unchecked")
    static Map<Integer, Field> fieldsOf(TaggedFields tags) {
        try {
            java.lang.reflect.Field fields = TaggedFields.class.getDeclaredField("fields");
            fields.setAccessible(true);
            return (Map<Integer, Field>) fields.get(tags);
        } catch (ReflectiveOperationException error) {
            throw new IllegalStateException(error);
        }
    }

    static void value(ByteArrayOutputStream out, Type type, boolean inTag) {
        if (type instanceof Schema) {
            if (type.isNullable()) {
                boolean absent = random.nextInt(3) == 0;
                out.write(absent ? (inTag ? 0 : -1) : 1);
                if (absent) return;
            }
            for (BoundField field : ((Schema) type).fields()) value(out, field.def.type, false);
            return;
        }
        if (type instanceof TaggedFields) {
            Map<Integer, byte[]> tags = new TreeMap<>();
            for (Map.Entry<Integer, Field> tag : fieldsOf((TaggedFields) type).entrySet()) {
                if (random.nextBoolean()) continue;
                ByteArrayOutputStream payload = new ByteArrayOutputStream();
                value(payload, tag.getValue().type, true);
                tags.put(tag.getKey(), payload.toByteArray());
            }
            if (random.nextInt(6) == 0) tags.put(100 + random.nextInt(20000), bytes());
            uvarint(out, tags.size());
            for (Map.Entry<Integer, byte[]> tag : tags.entrySet()) {
                uvarint(out, tag.getKey());
                uvarint(out, tag.getValue().length);
                out.write(tag.getValue(), 0, tag.getValue().length);
            }
            return;
        }
        boolean compact = type.toString().contains("COMPACT");
        boolean absent = type.isNullable() && random.nextInt(3) == 0;
        if (type.isArray()) {
            int count = absent ? -1 : random.nextInt(4);
            if (compact) uvarint(out, count + 1); else big(out, count, 4);
            for (int i = 0; i < count; i++) value(out, type.arrayElementType().get(), false);
            return;
        }
        String name = type.toString();
        if (name.contains("STRING") || name.contains("BYTES") || name.contains("RECORDS")) {
            byte[] some = absent ? null : name.contains("STRING") ? text() : bytes();
            int size = absent ? -1 : some.length;
            if (compact) uvarint(out, size + 1); else big(out, size, name.contains("STRING") ? 2 : 4);
            if (some != null) out.write(some, 0, size);
            return;
        }
        switch (name) {
            case "BOOLEAN": out.write(random.nextInt(2)); return;
            case "INT8": big(out, number(), 1); return;
            case "INT16": case "UINT16": big(out, number(), 2); return;
            case "INT32": case "UINT32": case "UNSIGNED_INT32": big(out, number(), 4); return;
            case "INT64": big(out, number(), 8); return;
            case "FLOAT64": big(out, Double.doubleToLongBits(random.nextDouble()), 8); return;
            case "UUID": big(out, number(), 8); big(out, number(), 8); return;
            default: throw new IllegalStateException("type " + name);
        }
    }

    // ---- lines

    static final char[] DIGITS = "0123456789abcdef".toCharArray();

    static String hex(byte[] bytes) {
        if (bytes.length == 0) return "-";
        StringBuilder text = new StringBuilder();
        for (byte b : bytes) text.append(DIGITS[(b >> 4) & 15]).append(DIGITS[b & 15]);
        return text.toString();
    }

    static byte[] unhex(String text) {
        if (text.equals("-")) return new byte[0];
        byte[] bytes = new byte[text.length() / 2];
        for (int i = 0; i < bytes.length; i++) bytes[i] = (byte) Integer.parseInt(text.substring(2 * i, 2 * i + 2), 16);
        return bytes;
    }

    static String reason(Throwable error) {
        while (error instanceof InvocationTargetException) error = error.getCause();
        return error.toString().replace('\n', ' ');
    }

    public static void main(String[] arguments) throws Exception {
        PrintStream out = new PrintStream(new java.io.FileOutputStream(java.io.FileDescriptor.out), false, "UTF-8");
        if (arguments[0].equals("recode")) {
            BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                String[] words = line.split(" ");
                String answer = "skip";
                try {
                    Class<?> kind = classOf(words[0]);
                    short version = kind == null ? -1 : javaVersion(kind, Integer.parseInt(words[1]));
                    if (version >= 0) answer = hex(recode(kind, version, unhex(words[2])));
                } catch (Throwable error) {
                    answer = "error " + reason(error);
                }
                out.println(words[0] + " " + words[1] + " " + answer);
            }
        } else {
            // random <seed> <n> <file with lines "<message> <low> <high>">
            random = new Random(Long.parseLong(arguments[1]));
            for (String line : Files.readAllLines(Path.of(arguments[3]))) {
                String[] words = line.split(" ");
                Class<?> kind = classOf(words[0]);
                if (kind == null) continue;
                Schema[] schemas = (Schema[]) kind.getField("SCHEMAS").get(null);
                for (int version = Integer.parseInt(words[1]); version <= Integer.parseInt(words[2]); version++) {
                    short javas = javaVersion(kind, version);
                    if (javas < 0) continue;
                    for (int i = 0; i < Integer.parseInt(arguments[2]); i++) {
                        ByteArrayOutputStream body = new ByteArrayOutputStream();
                        value(body, schemas[javas], false);
                        String answer;
                        try {
                            answer = hex(recode(kind, javas, body.toByteArray()));
                        } catch (Throwable error) {
                            answer = "error " + reason(error);
                        }
                        out.println(words[0] + " " + version + " " + answer);
                    }
                }
            }
        }
        out.flush();
    }
}
