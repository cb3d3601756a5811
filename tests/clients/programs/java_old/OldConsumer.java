// A consumer that compiles with every kafka-clients since 0.9: OldConsumer BOOTSTRAP COUNT GROUP TOPIC
// Prints how many records it read and the SHA-256 of all "key TAB value" in the order of their keys.
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.consumer.*;

public class OldConsumer {
    static String digest(SortedMap<String, byte[]> records) throws Exception {
        MessageDigest sha = MessageDigest.getInstance("SHA-256");
        for (Map.Entry<String, byte[]> record : records.entrySet()) {
            sha.update((record.getKey() + "\t").getBytes(StandardCharsets.UTF_8));
            sha.update(record.getValue());
            sha.update((byte) '\n');
        }
        StringBuilder hex = new StringBuilder();
        for (byte b : sha.digest()) hex.append(String.format("%02x", b));
        return hex.toString();
    }

    @SuppressWarnings("unchecked")
    public static void main(String[] args) throws Exception {
        int count = Integer.parseInt(args[1]);
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", args[0]);
        config.put("group.id", args[2]);
        config.put("auto.offset.reset", "earliest");
        config.put("enable.auto.commit", "false");
        config.put("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        config.put("value.deserializer", "org.apache.kafka.common.serialization.ByteArrayDeserializer");
        TreeMap<String, byte[]> records = new TreeMap<>();
        int seen = 0;
        KafkaConsumer<String, byte[]> consumer = new KafkaConsumer<>(config);
        consumer.subscribe(Arrays.asList(args[3]));
        Method poll;
        Object wait;
        try {
            poll = KafkaConsumer.class.getMethod("poll", Duration.class);
            wait = Duration.ofMillis(1000);
        } catch (NoSuchMethodException older) {
            poll = KafkaConsumer.class.getMethod("poll", long.class);
            wait = 1000L;
        }
        long end = System.currentTimeMillis() + 120_000;
        while (seen < count && System.currentTimeMillis() < end) {
            for (ConsumerRecord<String, byte[]> record : (ConsumerRecords<String, byte[]>) poll.invoke(consumer, wait)) {
                records.put(record.key(), record.value());
                seen++;
            }
        }
        consumer.commitSync();
        consumer.close();
        System.out.println(seen + " " + digest(records));
    }
}
