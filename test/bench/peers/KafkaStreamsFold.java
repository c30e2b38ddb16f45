// The peer of `npm run bench -- fold`: Kafka Streams folds the same cost events of the same topic into balances by tenant, in RocksDB, with a
// changelog, exactly_once_v2, two threads. A second life, whose state directory is gone, restores them from that changelog: as after a lost disk,
// in a process that has just started. Either is timed from its first record to its last, without its start and the joining of its group.
// Arguments: process or restore, bootstrap, username, password, topic, schema id of cost_recorded, number of such events, state directory.
// One line of JSON at the end.
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.state.KeyValueStore;

public class KafkaStreamsFold {
  static final long LIMIT_SECONDS = 600;
  static final AtomicLong processed = new AtomicLong();
  static final AtomicLong firstNanos = new AtomicLong();
  static volatile long lastNanos;
  static final CountDownLatch done = new CountDownLatch(1);

  public static void main(String[] life) throws Exception {
    String[] args = Arrays.copyOfRange(life, 1, life.length);
    StreamsBuilder builder = topology(args[3], Integer.parseInt(args[4]), Long.parseLong(args[5]));
    KafkaStreams streams = new KafkaStreams(builder.build(), config(args));
    streams.setUncaughtExceptionHandler(KafkaStreamsFold::fail);
    if (life[0].equals("restore")) restore(streams);
    else process(streams);
  }

  static void process(KafkaStreams streams) throws InterruptedException {
    streams.start();
    await(done, "processing");
    double seconds = (lastNanos - firstNanos.get()) / 1e9;
    // Closing commits what was processed.
    streams.close();
    streams.cleanUp();
    System.out.printf("{\"records\":%d,\"seconds\":%.3f}%n", processed.get(), seconds);
  }

  static void restore(KafkaStreams streams) throws InterruptedException {
    Restore restore = new Restore();
    streams.setGlobalStateRestoreListener(restore);
    CountDownLatch running = new CountDownLatch(1);
    streams.setStateListener((now, before) -> { if (now == KafkaStreams.State.RUNNING && restore.records.get() > 0) running.countDown(); });
    streams.start();
    await(running, "restoring");
    streams.close();
    System.out.printf("{\"records\":%d,\"seconds\":%.3f}%n", restore.records.get(), (restore.last - restore.first) / 1e9);
  }

  static Properties config(String[] args) {
    Properties config = new Properties();
    config.put(StreamsConfig.APPLICATION_ID_CONFIG, "bench-kafka-streams");
    config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
    config.put("security.protocol", "SASL_PLAINTEXT");
    config.put("sasl.mechanism", "SCRAM-SHA-512");
    config.put("sasl.jaas.config", "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"" + args[1] + "\" password=\"" + args[2] + "\";");
    config.put(StreamsConfig.STATE_DIR_CONFIG, args[6]);
    config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
    config.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
    config.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
    return config;
  }

  /** Every event changes its tenant's balance and writes it to the changelog: caching would fold many into one record. */
  static StreamsBuilder topology(String topic, int schema, long events) {
    StreamsBuilder builder = new StreamsBuilder();
    builder.stream(topic, Consumed.with(Serdes.String(), Serdes.ByteArray()))
        .filter((tenant, value) -> ByteBuffer.wrap(value).getInt(1) == schema)
        .groupByKey()
        .aggregate(() -> new byte[0], (tenant, value, balance) -> add(value, balance, events),
            Materialized.<String, byte[], KeyValueStore<Bytes, byte[]>>as("balances")
                .withKeySerde(Serdes.String()).withValueSerde(Serdes.ByteArray()).withCachingDisabled()
                .withLoggingEnabled(Map.of("cleanup.policy", "delete", "retention.ms", "-1")));
    return builder;
  }

  /** A balance: settled by day, by month and in all, each with its key, and tokens. */
  static byte[] add(byte[] value, byte[] balance, long events) {
    firstNanos.compareAndSet(0, System.nanoTime());
    Avro event = new Avro(value);
    event.skipString();
    event.skipString();
    event.skipString();
    String day = event.string();
    String month = event.string();
    event.skipString();
    event.number();
    long amount = event.number();
    long tokens = event.number() + event.number();
    ByteBuffer before = ByteBuffer.wrap(balance);
    String dayBefore = balance.length == 0 ? "" : string(before);
    long settledDay = balance.length == 0 ? 0 : before.getLong();
    String monthBefore = balance.length == 0 ? "" : string(before);
    long settledMonth = balance.length == 0 ? 0 : before.getLong();
    long total = balance.length == 0 ? 0 : before.getLong();
    long tokensBefore = balance.length == 0 ? 0 : before.getLong();
    byte[] dayBytes = day.getBytes(StandardCharsets.UTF_8);
    byte[] monthBytes = month.getBytes(StandardCharsets.UTF_8);
    ByteBuffer after = ByteBuffer.allocate(2 + dayBytes.length + monthBytes.length + 32);
    after.put((byte) dayBytes.length).put(dayBytes).putLong((day.equals(dayBefore) ? settledDay : 0) + amount);
    after.put((byte) monthBytes.length).put(monthBytes).putLong((month.equals(monthBefore) ? settledMonth : 0) + amount);
    after.putLong(total + amount).putLong(tokensBefore + tokens);
    if (processed.incrementAndGet() == events) {
      lastNanos = System.nanoTime();
      done.countDown();
    }
    return after.array();
  }

  static String string(ByteBuffer from) {
    byte[] bytes = new byte[from.get()];
    from.get(bytes);
    return new String(bytes, StandardCharsets.UTF_8);
  }

  /** Avro's binary encoding behind Confluent's five bytes; only what is needed is read, which favours this side. */
  static final class Avro {
    final byte[] bytes;
    int at = 5;
    Avro(byte[] bytes) { this.bytes = bytes; }
    long number() {
      long value = 0;
      for (int shift = 0; ; shift += 7) {
        byte next = bytes[at++];
        value |= (long) (next & 0x7f) << shift;
        if (next >= 0) return (value >>> 1) ^ -(value & 1);
      }
    }
    void skipString() { int length = (int) number(); at += length; }
    String string() {
      int length = (int) number();
      String text = new String(bytes, at, length, StandardCharsets.UTF_8);
      at += length;
      return text;
    }
  }

  static final class Restore implements StateRestoreListener {
    final AtomicLong records = new AtomicLong();
    volatile long first;
    volatile long last;
    public synchronized void onRestoreStart(TopicPartition partition, String store, long from, long to) { if (first == 0) first = System.nanoTime(); }
    public void onBatchRestored(TopicPartition partition, String store, long end, long count) { records.addAndGet(count); }
    public synchronized void onRestoreEnd(TopicPartition partition, String store, long total) { last = System.nanoTime(); }
  }

  static StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse fail(Throwable error) {
    error.printStackTrace();
    Runtime.getRuntime().halt(1);
    return StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse.SHUTDOWN_APPLICATION;
  }

  static void await(CountDownLatch latch, String what) throws InterruptedException {
    if (latch.await(LIMIT_SECONDS, TimeUnit.SECONDS)) return;
    System.err.println(what + " did not end within " + LIMIT_SECONDS + " s: " + processed.get() + " events processed");
    Runtime.getRuntime().halt(1);
  }
}
