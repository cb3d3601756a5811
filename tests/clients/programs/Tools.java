import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs many of Kafka's command line tools in one JVM. Each line of the file is a main class, its arguments and, after an empty one, a
 * text for its standard input, with tabs between; prints `== line`, what the tool printed, and `-- ` with how it ended.
 */
public class Tools {
    private static final class Exited extends RuntimeException {
        Exited(int code) {
            super("exit " + code, null, false, false);
        }
    }

    private static volatile OutputStream now = new ByteArrayOutputStream();

    private static final OutputStream RELAY = new OutputStream() {
        @Override
        public void write(int one) throws IOException {
            now.write(one);
        }

        @Override
        public void write(byte[] bytes, int from, int count) throws IOException {
            now.write(bytes, from, count);
        }
    };

    public static void main(String[] args) throws Exception {
        PrintStream out = System.out;
        PrintStream relay = new PrintStream(RELAY, true);
        System.setOut(relay);
        System.setErr(relay);
        Exit.setExitProcedure((code, message) -> {
            if (message != null) System.out.println(message);
            throw new Exited(code);
        });
        for (String line : Files.readAllLines(Path.of(args[0]))) {
            String[] words = line.split("\t", -1);
            int end = Arrays.asList(words).indexOf("");
            String input = end < 0 ? "" : words[end + 1].replace("\\n", "\n");
            String[] options = Arrays.copyOfRange(words, 1, end < 0 ? words.length : end);
            ByteArrayOutputStream printed = new ByteArrayOutputStream();
            now = printed;
            System.setIn(new ByteArrayInputStream(input.getBytes()));
            FutureTask<String> task = new FutureTask<>(() -> {
                try {
                    Class.forName(words[0]).getMethod("main", String[].class).invoke(null, (Object) options);
                    return "end";
                } catch (InvocationTargetException thrown) {
                    return thrown.getCause() instanceof Exited ? thrown.getCause().getMessage() : "thrown " + thrown.getCause();
                }
            });
            Thread thread = new Thread(task, "tool");
            thread.setDaemon(true);
            thread.start();
            String how;
            try {
                how = task.get(120, TimeUnit.SECONDS);
            } catch (TimeoutException slow) {
                how = "no end within 120 s";
            }
            out.println("== " + line.replace('\t', ' '));
            out.print(printed);
            out.println("-- " + how);
            out.flush();
        }
        Runtime.getRuntime().halt(0);
    }
}
