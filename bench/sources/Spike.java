import java.io.FileOutputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Both sides of the spike, with Kafka's own clients: `produce` and `consume`, see spike.ts. */
public class Spike {
  private static final int EVENT_BYTES = 100;
  private static volatile boolean stopping = false;

  public static void main(String[] args) throws Exception {
    if (args[0].equals("produce")) {
      produce(args[1], args[2], Long.parseLong(args[3]), Double.parseDouble(args[4]), Double.parseDouble(args[5]));
    } else {
      consume(args[1], args[2], args[3], Double.parseDouble(args[4]), args[5]);
    }
  }

  /**
   * Sends so many events, at no more than a rate a second, for no longer than so many seconds. Prints how many the
   * broker has taken and in how many seconds, and the same without the first tenth, when Java is still warming up.
   */
  private static void produce(String servers, String topic, long most, double rate, double seconds) throws Exception {
    Properties settings = new Properties();
    settings.put("bootstrap.servers", servers);
    settings.put("batch.size", "65536");
    settings.put("linger.ms", "10");
    AtomicLong taken = new AtomicLong();
    AtomicLong failed = new AtomicLong();
    try (KafkaProducer<byte[], byte[]> producer =
        new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
      int partitions = producer.partitionsFor(topic).size();
      byte[] event = "an event ".repeat(EVENT_BYTES).substring(0, EVENT_BYTES).getBytes(StandardCharsets.UTF_8);
      long begin = System.nanoTime();
      long sent = 0;
      double warmAt = -1;
      long takenCold = 0;
      double now = 0;
      while (sent < most && now < seconds) {
        long due = Math.min(most, (long) (now * rate));
        // Whole groups go to one partition, so that batches fill.
        for (long end = Math.min(due, sent + 500); sent < end; sent++) {
          producer.send(
              new ProducerRecord<>(topic, (int) ((sent / 500) % partitions), null, event),
              (metadata, thrown) -> (thrown == null ? taken : failed).incrementAndGet());
        }
        if (sent >= due) Thread.sleep(2);
        now = (System.nanoTime() - begin) / 1e9;
        if (warmAt < 0 && now > seconds / 10) {
          warmAt = now;
          takenCold = taken.get();
        }
      }
      producer.flush();
      double over = (System.nanoTime() - begin) / 1e9;
      System.out.println(
          taken.get() + " " + over + " " + (taken.get() - takenCold) + " " + (over - warmAt) + " " + failed.get());
    }
  }

  /**
   * Works on the events of a topic as a member of a group, at most so many a second, as a consumer that waits for a
   * database would. What was worked on is noted in a file of its own before it is committed: `PARTITION FROM TO`.
   */
  private static void consume(String servers, String topic, String group, double rate, String folder)
      throws Exception {
    CountDownLatch stopped = new CountDownLatch(1);
    Runtime.getRuntime().addShutdownHook(new Thread(() -> {
      stopping = true;
      try {
        stopped.await();
      } catch (InterruptedException ignored) {
        Thread.currentThread().interrupt();
      }
    }));
    Map<TopicPartition, OffsetAndMetadata> done = new HashMap<>();
    try (OutputStream ledger = new FileOutputStream(folder + "/" + ProcessHandle.current().pid() + ".txt");
        KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(
            consumerSettings(servers, group), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
      consumer.subscribe(List.of(topic), new ConsumerRebalanceListener() {
        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> revoked) {
          if (!done.isEmpty()) consumer.commitSync(done);
          done.clear();
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> assigned) {}

        @Override
        public void onPartitionsLost(Collection<TopicPartition> lost) {
          done.keySet().removeAll(lost);
        }
      });
      while (!stopping) {
        ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(100));
        if (records.isEmpty()) continue;
        long begin = System.nanoTime();
        StringBuilder lines = new StringBuilder();
        for (TopicPartition partition : records.partitions()) {
          List<ConsumerRecord<byte[], byte[]>> batch = records.records(partition);
          for (ConsumerRecord<byte[], byte[]> each : batch) {
            if (each.value().length != EVENT_BYTES) throw new IllegalStateException("an event is broken");
          }
          long to = batch.get(batch.size() - 1).offset() + 1;
          lines.append(partition.partition()).append(' ').append(batch.get(0).offset()).append(' ').append(to);
          lines.append('\n');
          done.put(partition, new OffsetAndMetadata(to));
        }
        long left = (long) (records.count() / rate * 1e9) - (System.nanoTime() - begin);
        if (left > 0) Thread.sleep(left / 1_000_000, (int) (left % 1_000_000));
        ledger.write(lines.toString().getBytes(StandardCharsets.UTF_8));
        try {
          consumer.commitSync(done);
          done.clear();
        } catch (RebalanceInProgressException later) {
          // The next poll ends it; what is done is committed there or after it.
        }
      }
      for (int tries = 0; tries < 50 && !done.isEmpty(); tries++) {
        try {
          consumer.commitSync(done);
          done.clear();
        } catch (RebalanceInProgressException later) {
          consumer.pause(consumer.assignment());
          consumer.poll(Duration.ofMillis(100));
        }
      }
    } finally {
      stopped.countDown();
    }
  }

  private static Properties consumerSettings(String servers, String group) {
    Properties settings = new Properties();
    settings.put("bootstrap.servers", servers);
    settings.put("group.id", group);
    settings.put("enable.auto.commit", "false");
    settings.put("auto.offset.reset", "earliest");
    settings.put("max.poll.records", "5000");
    settings.put("heartbeat.interval.ms", "500");
    settings.put("partition.assignment.strategy", CooperativeStickyAssignor.class.getName());
    return settings;
  }
}
