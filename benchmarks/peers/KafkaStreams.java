import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.IOException;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.time.Duration;
import java.time.OffsetDateTime;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.UUID;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * Kafka Streams on the projection: each award adds to the user's balance in a persistent, logged store; a ledger row
 * per event and the changed balances go to Postgres by batched JDBC, one transaction per batch of a task. Rows are
 * written so that writing them again changes nothing.
 *
 * <p>Arguments, in order: bootstrap servers, topic, JDBC URL, processing guarantee, stream threads, state folder.
 * The application id is the state folder's name. The tables exist before the start. Runs until SIGTERM.
 */
public final class KafkaStreams {
  private static final String STORE = "balances";
  private static final int BATCH = 5_000; // records of a task between two flushes
  private static final Duration PATIENCE = Duration.ofMillis(500); // at most between two flushes, and between two commits

  public static void main(String[] args) {
    var streams = new org.apache.kafka.streams.KafkaStreams(topology(args[1], args[2]).build(), config(args));
    streams.setUncaughtExceptionHandler(error -> {
      error.printStackTrace();
      return StreamThreadExceptionResponse.SHUTDOWN_APPLICATION;
    });
    Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(5))));
    streams.start();
  }

  private static StreamsBuilder topology(String topic, String jdbc) {
    var store = Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(STORE), Serdes.String(), Serdes.Long());
    var builder = new StreamsBuilder();
    builder.addStateStore(store.withCachingEnabled());
    builder.stream(topic, Consumed.with(Serdes.String(), Serdes.ByteArray())).process(() -> new Awards(jdbc), STORE);
    return builder;
  }

  private static Properties config(String[] args) {
    var config = new Properties();
    config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
    config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, args[3]);
    if (args[3].equals(StreamsConfig.EXACTLY_ONCE_V2)) {
      config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, PATIENCE.toMillis()); // its default of 100 ms costs a tenth
    }
    config.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, args[4]);
    config.put(StreamsConfig.STATE_DIR_CONFIG, args[5]);
    config.put(StreamsConfig.APPLICATION_ID_CONFIG, java.nio.file.Path.of(args[5]).getFileName().toString());
    config.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 64L << 20);
    config.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 10_000);
    config.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
    config.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 10_000);
    config.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG), 4 << 20);
    config.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
    return config;
  }

  /** The whole envelope, every field bound, as a Java service would read it. */
  record Event(
      @JsonProperty("event_id") UUID eventId,
      String type,
      @JsonProperty("schema_version") int schemaVersion,
      @JsonProperty("occurred_at") String occurredAt,
      String domain,
      @JsonProperty("aggregate_id") String aggregateId,
      @JsonProperty("aggregate_seq") long aggregateSeq,
      Actor actor,
      @JsonProperty("command_id") UUID commandId,
      @JsonProperty("correlation_id") UUID correlationId,
      @JsonProperty("causation_id") UUID causationId,
      long number,
      Source source,
      int hops,
      Award payload) {}

  record Source(int partition, long offset, String hash) {}

  record Actor(String type, String id, String role) {}

  record Award(@JsonProperty("user_id") String userId, long amount, String rule, String source) {}

  /** One per task (partition), with a connection of its own. */
  private static final class Awards implements Processor<String, byte[], Void, Void> {
    private static final ObjectReader READER = JsonMapper.builder()
        .disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
        .build()
        .readerFor(Event.class);

    private final String jdbc;
    private final Map<String, Long> changed = new HashMap<>();
    private KeyValueStore<String, Long> balances;
    private Connection connection;
    private PreparedStatement entries;
    private PreparedStatement totals;
    private int buffered;

    Awards(String jdbc) {
      this.jdbc = jdbc;
    }

    @Override
    public void init(ProcessorContext<Void, Void> context) {
      balances = context.getStateStore(STORE);
      context.schedule(PATIENCE, PunctuationType.WALL_CLOCK_TIME, now -> flush());
      try {
        connection = DriverManager.getConnection(jdbc);
        connection.setAutoCommit(false);
        entries = connection.prepareStatement(
            "insert into ledger (user_id, seq, at, kind, debit, credit, amount, reference)"
                + " values (?, ?, ?, ?, ?, ?, ?, ?) on conflict do nothing");
        totals = connection.prepareStatement(
            "insert into balance (user_id, available, held) values (?, ?, 0)"
                + " on conflict (user_id) do update set available = excluded.available");
      } catch (SQLException error) {
        throw new IllegalStateException(error);
      }
    }

    @Override
    public void process(Record<String, byte[]> record) {
      try {
        Event event = READER.readValue(record.value());
        Award award = event.payload();
        Long before = balances.get(award.userId());
        long after = (before == null ? 0 : before) + award.amount();
        balances.put(award.userId(), after);
        changed.put(award.userId(), after);
        entries.setString(1, award.userId());
        entries.setLong(2, event.aggregateSeq());
        entries.setObject(3, OffsetDateTime.parse(event.occurredAt()));
        entries.setString(4, "awarded");
        entries.setString(5, "system:issued");
        entries.setString(6, "user:" + award.userId() + ":available");
        entries.setLong(7, award.amount());
        entries.setString(8, award.source());
        entries.addBatch();
      } catch (IOException | SQLException error) {
        throw new IllegalStateException(error);
      }
      if (++buffered >= BATCH) {
        flush();
      }
    }

    private void flush() {
      if (buffered == 0) {
        return;
      }
      try {
        entries.executeBatch();
        for (var total : changed.entrySet()) {
          totals.setString(1, total.getKey());
          totals.setLong(2, total.getValue());
          totals.addBatch();
        }
        totals.executeBatch();
        connection.commit();
      } catch (SQLException error) {
        throw new IllegalStateException(error);
      }
      changed.clear();
      buffered = 0;
    }

    @Override
    public void close() {
      try {
        flush();
        connection.close();
      } catch (SQLException error) {
        throw new IllegalStateException(error);
      }
    }
  }
}
