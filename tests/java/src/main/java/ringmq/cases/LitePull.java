// The lite pull consumer: subscribed with commit, and with queues assigned by hand and sought positions.
package ringmq.cases;

import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

final class LitePull implements Case {
    private static final int QUEUES = 4;
    private static final int FIRST = 60;
    private static final int SECOND = 20;

    @Override
    public String name() {
        return "lite-pull";
    }

    @Override
    public String run(Bed bed) throws Exception {
        String topic = bed.topic("Lite", QUEUES);
        String group = bed.name("lite");
        List<MessageQueue> queues = bed.queues(topic, QUEUES);
        DefaultMQProducer producer = bed.producer();
        send(producer, queues, "first", FIRST);
        DefaultLitePullConsumer one = bed.litePull(group);
        one.setAutoCommit(false);
        one.subscribe(topic, "*");
        one.start();
        Bed.same("first round", FIRST, poll(one, FIRST, 30).size());
        one.commitSync();
        // The client sends offsets without waiting for an answer; a repeated commit does no harm.
        bed.awaitNoLag(group, () -> one.commit(new HashSet<>(queues), true));
        one.shutdown();

        send(producer, queues, "second", SECOND);
        DefaultLitePullConsumer two = bed.litePull(group);
        two.subscribe(topic, "*");
        two.start();
        TreeSet<String> keys = poll(two, SECOND, 30);
        Bed.check(keys.size() == SECOND && keys.stream().allMatch(key -> key.startsWith("second")), "second round: %s", keys);
        two.shutdown();
        return seek(bed, topic, producer) + "; a second consumer went on behind the commit";
    }

    private static String seek(Bed bed, String topic, DefaultMQProducer producer) throws Exception {
        DefaultLitePullConsumer consumer = bed.litePull(bed.name("assigned"));
        consumer.setAutoCommit(false);
        consumer.start();
        Collection<MessageQueue> queues = consumer.fetchMessageQueues(topic);
        Bed.same("queues of the topic", QUEUES, queues.size());
        MessageQueue queue = bed.queues(topic, QUEUES).get(2);
        consumer.assign(List.of(queue));
        int stored = (FIRST + SECOND) / QUEUES;
        Bed.same("from the start of one queue", stored, poll(consumer, stored, 20).size());
        consumer.seek(queue, stored - 3);
        Bed.same("from a sought offset", 3, poll(consumer, 3, 20).size());
        consumer.seekToBegin(queue);
        Bed.same("from the start again", stored, poll(consumer, stored, 20).size());
        consumer.seekToEnd(queue);
        send(producer, List.of(queue), "last", 1);
        Bed.same("from the end", Set.of("last0"), poll(consumer, 1, 20));
        Bed.same("offset of the beginning of time", 0L, consumer.offsetForTimestamp(queue, 0L));
        return FIRST + SECOND + " messages, sought positions right";
    }

    private static void send(DefaultMQProducer producer, List<MessageQueue> queues, String stem, int count) throws Exception {
        for (int i = 0; i < count; i++) {
            producer.send(Bed.message(queues.get(0).getTopic(), "T", stem + i), queues.get(i % queues.size()));
        }
    }

    /** Polls until `count` distinct keys came, and half a second more to see whether there are others. */
    private static TreeSet<String> poll(DefaultLitePullConsumer consumer, int count, int limitSeconds) {
        TreeSet<String> keys = new TreeSet<>();
        long start = System.nanoTime();
        while (keys.size() < count && Bed.millisSince(start) < limitSeconds * 1_000L) {
            add(keys, consumer.poll(500));
        }
        add(keys, consumer.poll(500));
        return keys;
    }

    private static void add(TreeSet<String> keys, List<MessageExt> messages) {
        messages.forEach(message -> keys.add(message.getKeys()));
    }
}
