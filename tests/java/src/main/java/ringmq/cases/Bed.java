// What one case uses: its own names, the clients it opened (closed at its end) and its checks.
package ringmq.cases;

import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.ThreadLocalRandom;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

final class Bed implements AutoCloseable {
    static final int READ_AND_WRITE = 6;

    /**
     * A consumer's first heart beat after a change of its queues is skipped when another is on its way. Until the next one (30 s by default)
     * the broker refuses its pulls, because the subscription is not the latest: a race of the client that must not decide a case.
     */
    private static final int HEART_BEAT_MS = 1_000;

    final Target target;
    private final String suffix = unique();
    private final Deque<Runnable> closers = new ArrayDeque<>();
    private int instances;

    Bed(Target target) {
        this.target = target;
    }

    static String unique() {
        return Long.toString(ThreadLocalRandom.current().nextLong(1L << 40), 36);
    }

    String name(String stem) {
        return stem + "_" + suffix;
    }

    /** Creates a topic and waits until the name server gives its route. */
    String topic(String stem, int queues) throws Exception {
        String topic = name(stem);
        createTopic(topic, queues, READ_AND_WRITE);
        return topic;
    }

    void createTopic(String topic, int queues, int permission) throws Exception {
        target.admin.createAndUpdateTopicConfig(target.brokerAddress, new TopicConfig(topic, queues, queues, permission));
        await("route of " + topic + " with " + queues + " queues", 15, () -> routeQueues(topic) == queues);
    }

    /** Read queues of the topic by the name server's route; -1 without a route. */
    int routeQueues(String topic) throws Exception {
        try {
            return target.admin.examineTopicRouteInfo(topic).getQueueDatas().get(0).getReadQueueNums();
        } catch (MQClientException e) {
            if (e.getResponseCode() == 17) {
                return -1;
            }
            throw e;
        }
    }

    /** Messages of the topic that the group has not consumed, by the broker's account; -1 while it has none. */
    long lag(String group) throws Exception {
        try {
            return target.admin.examineConsumeStats(group).computeTotalDiff();
        } catch (MQClientException | MQBrokerException e) {
            return -1;
        }
    }

    /** Waits until the broker has every offset of a group whose consumers received all; returns the milliseconds it took. */
    long drain(DefaultMQPushConsumer... consumers) throws Exception {
        String group = consumers[0].getConsumerGroup();
        // By itself a consumer does so only after its first 10 s.
        return awaitNoLag(group, () -> {
            for (DefaultMQPushConsumer consumer : consumers) {
                consumer.getDefaultMQPushConsumerImpl().persistConsumerOffset();
            }
        });
    }

    /** Commits until the broker's account of the group shows no lag; returns the milliseconds it took. */
    long awaitNoLag(String group, Runnable commit) throws Exception {
        long start = System.nanoTime();
        commit.run();
        for (long lag = lag(group); lag != 0; lag = lag(group)) {
            check(millisSince(start) < 20_000, "lag of %s is %d after 20 s (-1: no account), offsets %s", group, lag, offsets(group));
            Thread.sleep(100);
            commit.run();
        }
        return millisSince(start);
    }

    private Object offsets(String group) {
        try {
            return target.admin.examineConsumeStats(group).getOffsetTable();
        } catch (Exception e) {
            return e.toString();
        }
    }

    List<MessageQueue> queues(String topic, int count) {
        List<MessageQueue> queues = new ArrayList<>();
        for (int id = 0; id < count; id++) {
            queues.add(new MessageQueue(topic, target.broker, id));
        }
        return queues;
    }

    synchronized String instance() {
        return "i" + instances++ + "-" + suffix;
    }

    DefaultMQProducer producer() throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(name("producers"));
        producer.setNamesrvAddr(target.nameServer);
        producer.setInstanceName(instance());
        producer.setPollNameServerInterval(2_000);
        producer.setSendMsgTimeout(10_000);
        producer.start();
        closeLater(producer::shutdown);
        return producer;
    }

    /** A push consumer that is not started yet: one thread, so that messages of a queue arrive in order. */
    DefaultMQPushConsumer push(String group) {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(target.nameServer);
        consumer.setInstanceName(instance());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setConsumeThreadMin(1);
        consumer.setConsumeThreadMax(1);
        consumer.setPollNameServerInterval(2_000);
        consumer.setHeartbeatBrokerInterval(HEART_BEAT_MS);
        consumer.setPersistConsumerOffsetInterval(1_000);
        closeLater(consumer::shutdown);
        return consumer;
    }

    @SuppressWarnings("deprecation")
    DefaultMQPullConsumer pull(String group) throws Exception {
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(group);
        consumer.setNamesrvAddr(target.nameServer);
        consumer.setInstanceName(instance());
        consumer.start();
        closeLater(consumer::shutdown);
        return consumer;
    }

    /** A lite pull consumer that is not started yet. */
    DefaultLitePullConsumer litePull(String group) {
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(group);
        consumer.setNamesrvAddr(target.nameServer);
        consumer.setInstanceName(instance());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPollNameServerInterval(2_000);
        consumer.setHeartbeatBrokerInterval(HEART_BEAT_MS);
        closeLater(consumer::shutdown);
        return consumer;
    }

    void closeLater(Runnable closer) {
        closers.push(closer);
    }

    /** Queues of the topic that the consumer works on now. */
    static TreeSet<Integer> assigned(DefaultMQPushConsumer consumer, String topic) {
        TreeSet<Integer> ids = new TreeSet<>();
        for (MessageQueue queue : consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet()) {
            if (queue.getTopic().equals(topic)) {
                ids.add(queue.getQueueId());
            }
        }
        return ids;
    }

    static Message message(String topic, String tag, String key) {
        return new Message(topic, tag, key, bytes("body of " + key));
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static String text(byte[] bytes) {
        return new String(bytes, StandardCharsets.UTF_8);
    }

    /** Fails the case unless the condition holds. */
    static void check(boolean condition, String what, Object... arguments) {
        if (!condition) {
            throw new AssertionError(String.format(what, arguments));
        }
    }

    static void same(String what, Object expected, Object found) {
        check(expected.equals(found), "%s: expected %s, found %s", what, expected, found);
    }

    /** Runs what must be refused and returns the refusal. */
    static MQBrokerException refused(String what, Callable<?> request) throws Exception {
        try {
            Object answer = request.call();
            throw new AssertionError(what + " was not refused: " + answer);
        } catch (MQBrokerException e) {
            return e;
        }
    }

    /** Waits until the condition holds and returns the milliseconds it took. */
    static long await(String what, int limitSeconds, Callable<Boolean> condition) throws Exception {
        long start = System.nanoTime();
        while (!condition.call()) {
            check(millisSince(start) < limitSeconds * 1_000L, "%s: not within %d s", what, limitSeconds);
            Thread.sleep(10);
        }
        return millisSince(start);
    }

    static long millisSince(long startNanos) {
        return (System.nanoTime() - startNanos) / 1_000_000;
    }

    @Override
    public void close() {
        while (!closers.isEmpty()) {
            try {
                closers.pop().run();
            } catch (RuntimeException e) {
                System.out.println("# close: " + e);
            }
        }
    }
}
