// The Java client in the roles of tests/clients/test_matrix.py: produce|consume BOOTSTRAP TOPIC CODEC|GROUP COUNT.
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.*;

public class Client {
    static byte[] valueOf(int i) {
        return (i + "-" + "abcdefghij".repeat(i % 40)).getBytes(StandardCharsets.UTF_8);
    }

    public static void main(String[] args) throws Exception {
        int count = Integer.parseInt(args[4]);
        if (args[0].equals("produce")) produce(args[1], args[2], args[3], count);
        else consume(args[1], args[2], args[3], count);
    }

    static void produce(String bootstrap, String topic, String codec, int count) throws Exception {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("compression.type", codec);
        config.put("linger.ms", 5);
        try (Producer<byte[], byte[]> producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int i = 0; i < count; i++) sent.add(producer.send(new ProducerRecord<>(topic, Integer.toString(i).getBytes(), valueOf(i))));
            producer.flush();
            for (Future<RecordMetadata> future : sent) future.get();
        }
    }

    static void consume(String bootstrap, String topic, String group, int count) throws Exception {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("group.id", group);
        config.put("auto.offset.reset", "earliest");
        config.put("enable.auto.commit", false);
        TreeMap<Integer, byte[]> records = new TreeMap<>();
        int seen = 0;
        try (Consumer<byte[], byte[]> consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(topic));
            while (seen < count) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    records.put(Integer.parseInt(new String(record.key())), record.value());
                    seen++;
                }
            }
            consumer.commitSync();
        }
        MessageDigest sha = MessageDigest.getInstance("SHA-256");
        for (Map.Entry<Integer, byte[]> record : records.entrySet()) {
            sha.update((record.getKey() + "\t").getBytes());
            sha.update(record.getValue());
            sha.update((byte) '\n');
        }
        StringBuilder hex = new StringBuilder();
        for (byte b : sha.digest()) hex.append(String.format("%02x", b));
        System.out.println(seen + " " + hex);
    }
}
