import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConsumerGroupOffsetsResult;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * What the tests do to a broker, with Kafka's own clients: one command a line, its words parted by tabs, and one
 * line back for each, `ok` or `error` with what there is to say.
 */
public class Tool {
  private final String servers;
  private final Admin admin;
  private final KafkaProducer<String, String> producer;
  private final Map<String, Member> members = new ConcurrentHashMap<>();

  Tool(String servers) {
    this.servers = servers;
    Properties settings = new Properties();
    settings.put("bootstrap.servers", servers);
    this.admin = Admin.create(settings);
    settings.put("linger.ms", "0");
    // A broker that learns only now that it leads may take a second batch and not the first, which then waits forever.
    settings.put("max.in.flight.requests.per.connection", "1");
    this.producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
  }

  public static void main(String[] args) throws Exception {
    Tool tool = new Tool(args[0]);
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    System.out.println("ready");
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      try {
        System.out.println("ok\t" + tool.run(line.split("\t", -1)));
      } catch (Exception thrown) {
        System.out.println("error\t" + String.valueOf(thrown).replace('\n', ' '));
      }
    }
    System.exit(0);
  }

  private String run(String[] words) throws Exception {
    switch (words[0]) {
      case "create": {
        List<NewTopic> topics = new ArrayList<>();
        for (String name : words[1].split(",")) {
          topics.add(new NewTopic(name, Integer.parseInt(words[2]), (short) 1));
        }
        admin.createTopics(topics).all().get();
        return "";
      }
      case "place": {
        Map<Integer, List<Integer>> brokers = new HashMap<>();
        for (int index = 2; index < words.length; index++) {
          brokers.put(index - 2, List.of(Integer.parseInt(words[index])));
        }
        admin.createTopics(List.of(new NewTopic(words[1], brokers))).all().get();
        return "";
      }
      case "grow":
        admin.createPartitions(Map.of(words[1], NewPartitions.increaseTo(Integer.parseInt(words[2])))).all().get();
        return "";
      case "delete":
        admin.deleteTopics(List.of(words[1])).all().get();
        return "";
      case "produce": {
        List<Future<?>> sent = new ArrayList<>();
        for (int index = 4; index < words.length; index++) {
          for (int copy = 0; copy < Integer.parseInt(words[3]); copy++) {
            sent.add(producer.send(new ProducerRecord<>(words[1], Integer.parseInt(words[2]), null, words[index])));
          }
        }
        producer.flush();
        for (Future<?> each : sent) each.get();
        return "";
      }
      case "compressed": {
        Properties settings = producerSettings();
        settings.put("compression.type", words[1]);
        settings.put("linger.ms", "1000");
        try (KafkaProducer<String, String> sender =
            new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
          for (int index = 3; index < words.length; index++) {
            ProducerRecord<String, String> each = new ProducerRecord<>(words[2], 0, "key", words[index]);
            each.headers().add("trace", "7".getBytes(StandardCharsets.UTF_8));
            sender.send(each);
          }
        }
        return "";
      }
      case "transact": {
        Properties settings = producerSettings();
        settings.put("transactional.id", words[1]);
        try (KafkaProducer<String, String> sender =
            new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
          sender.initTransactions();
          sender.beginTransaction();
          for (int index = 4; index < words.length; index++) {
            sender.send(new ProducerRecord<>(words[3], 0, null, words[index]));
          }
          sender.flush();
          if (words[2].equals("commit")) sender.commitTransaction();
          else sender.abortTransaction();
        }
        return "";
      }
      case "headers": {
        List<String> found = new ArrayList<>();
        for (ConsumerRecord<String, String> record : read(words[1])) {
          record.headers().forEach(
              each -> found.add(each.key() + "=" + new String(each.value(), StandardCharsets.UTF_8)));
        }
        return String.join("\t", found);
      }
      case "trim":
        admin.deleteRecords(
                Map.of(new TopicPartition(words[1], 0), RecordsToDelete.beforeOffset(Long.parseLong(words[2]))))
            .all()
            .get();
        return "";
      case "commit": {
        List<AlterConsumerGroupOffsetsResult> results = new ArrayList<>();
        for (String group : words[1].split(",")) {
          Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
          for (int index = 3; index < words.length; index++) {
            String[] pair = words[index].split("=");
            offsets.put(
                new TopicPartition(words[2], Integer.parseInt(pair[0])),
                new OffsetAndMetadata(Long.parseLong(pair[1])));
          }
          results.add(admin.alterConsumerGroupOffsets(group, offsets));
        }
        try {
          for (AlterConsumerGroupOffsetsResult each : results) each.all().get();
        } catch (ExecutionException thrown) {
          // A topic that the controller has made is not known to the broker at once.
          if (!(thrown.getCause() instanceof UnknownTopicOrPartitionException)) throw thrown;
          Thread.sleep(50);
          return run(words);
        }
        return "";
      }
      case "forget":
        admin.deleteConsumerGroupOffsets(words[1], Set.of(new TopicPartition(words[2], 0))).all().get();
        return "";
      case "committed": {
        List<String> found = new ArrayList<>();
        admin.listConsumerGroupOffsets(words[1]).partitionsToOffsetAndMetadata().get()
            .forEach((at, kept) -> found.add(at.partition() + " " + kept.offset() + " " + kept.metadata()));
        return String.join("\t", found);
      }
      case "join": {
        Member member = new Member(words[1], Arrays.asList(words[2].split(",")), words[3]);
        members.put(words[1], member);
        member.start();
        member.joined.await();
        return "";
      }
      case "leave": {
        Member member = members.remove(words[1]);
        member.consumer.wakeup();
        member.join();
        return "";
      }
      case "size":
        return String.valueOf(sizeOf(words[1]));
      case "values":
        return values(words[1]);
      case "guard": {
        ResourcePattern what =
            new ResourcePattern(ResourceType.fromString(words[1]), words[2], PatternType.LITERAL);
        AccessControlEntry entry =
            new AccessControlEntry("User:nobody", "*", AclOperation.ALL, AclPermissionType.ALLOW);
        admin.createAcls(List.of(new AclBinding(what, entry))).all().get();
        return "";
      }
      default:
        throw new IllegalArgumentException("no such command: " + words[0]);
    }
  }

  private Properties producerSettings() {
    Properties settings = new Properties();
    settings.put("bootstrap.servers", servers);
    return settings;
  }

  /** All messages of a topic, as texts; none where there is no such topic. */
  private String values(String topic) throws Exception {
    List<String> found = new ArrayList<>();
    if (!admin.listTopics().names().get().contains(topic)) return "";
    read(topic).forEach(each -> found.add(each.value()));
    return String.join("\t", found);
  }

  /** How many messages were ever sent to a topic. */
  private long sizeOf(String topic) {
    try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(consumerSettings(null, "classic"))) {
      List<TopicPartition> partitions = new ArrayList<>();
      consumer.partitionsFor(topic).forEach(each -> partitions.add(new TopicPartition(topic, each.partition())));
      return consumer.endOffsets(partitions).values().stream().mapToLong(Long::longValue).sum();
    }
  }

  private List<ConsumerRecord<String, String>> read(String topic) {
    long count = sizeOf(topic);
    List<ConsumerRecord<String, String>> found = new ArrayList<>();
    try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(consumerSettings(null, "classic"))) {
      List<TopicPartition> partitions = new ArrayList<>();
      consumer.partitionsFor(topic).forEach(each -> partitions.add(new TopicPartition(topic, each.partition())));
      consumer.assign(partitions);
      consumer.seekToBeginning(partitions);
      while (found.size() < count) consumer.poll(Duration.ofMillis(100)).forEach(found::add);
    }
    return found;
  }

  private Properties consumerSettings(String group, String protocol) {
    Properties settings = new Properties();
    settings.put("bootstrap.servers", servers);
    settings.put("key.deserializer", StringDeserializer.class.getName());
    settings.put("value.deserializer", StringDeserializer.class.getName());
    settings.put("enable.auto.commit", "false");
    settings.put(ConsumerConfig.GROUP_PROTOCOL_CONFIG, protocol);
    if (group != null) settings.put("group.id", group);
    return settings;
  }

  /** A member of a group that has subscribed and commits nothing. */
  private final class Member extends Thread {
    final CountDownLatch joined = new CountDownLatch(1);
    final KafkaConsumer<String, String> consumer;

    Member(String group, List<String> topics, String protocol) {
      setDaemon(true);
      consumer = new KafkaConsumer<>(consumerSettings(group, protocol));
      consumer.subscribe(topics);
    }

    @Override
    public void run() {
      try (consumer) {
        while (true) {
          consumer.poll(Duration.ofMillis(100));
          if (!consumer.assignment().isEmpty()) joined.countDown();
        }
      } catch (org.apache.kafka.common.errors.WakeupException leaving) {
        // It was told to leave.
      }
    }
  }
}
