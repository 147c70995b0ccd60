// Offsets of a queue: smallest, largest, earliest store time, and the one that belongs to a point in time.
package ringmq.cases;

import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

@SuppressWarnings("deprecation")
final class Offsets implements Case {
    private static final int MESSAGES = 6;

    @Override
    public String name() {
        return "offsets";
    }

    @Override
    public String run(Bed bed) throws Exception {
        String topic = bed.topic("Offsets", 2);
        MessageQueue queue = bed.queues(topic, 2).get(0);
        MessageQueue empty = bed.queues(topic, 2).get(1);
        DefaultMQProducer producer = bed.producer();
        for (int i = 0; i < MESSAGES; i++) {
            Bed.same("offset of message " + i, (long) i, producer.send(Bed.message(topic, "T", "m" + i), queue).getQueueOffset());
            Thread.sleep(50);
        }
        DefaultMQPullConsumer consumer = bed.pull(bed.name("pullers"));
        Bed.await("all messages in the queue", 20, () -> consumer.maxOffset(queue) == MESSAGES);
        Bed.same("smallest offset", 0L, consumer.minOffset(queue));
        Bed.same("largest offset", (long) MESSAGES, consumer.maxOffset(queue));
        Bed.same("smallest offset of an empty queue", 0L, consumer.minOffset(empty));
        Bed.same("largest offset of an empty queue", 0L, consumer.maxOffset(empty));
        var messages = consumer.pull(queue, "*", 0, 32).getMsgFoundList();
        Bed.same("earliest store time", messages.get(0).getStoreTimestamp(), consumer.earliestMsgStoreTime(queue));
        Bed.same("earliest store time of an empty queue", -1L, consumer.earliestMsgStoreTime(empty));
        Bed.same("offset of the beginning of time in an empty queue", 0L, consumer.searchOffset(empty, 0));
        Bed.same("offset of now in an empty queue", 0L, consumer.searchOffset(empty, System.currentTimeMillis()));
        for (MessageExt message : messages) {
            long at = message.getQueueOffset();
            Bed.same("offset for the store time of " + at, at, consumer.searchOffset(queue, message.getStoreTimestamp()));
            Bed.same("offset for 10 ms before the store time of " + at, at, consumer.searchOffset(queue, message.getStoreTimestamp() - 10));
            long after = consumer.searchOffset(queue, message.getStoreTimestamp() + 10);
            // 4.9.7 answers the nearest message, 5.5.0 the first that is not older.
            Bed.check(after == at + 1 || bed.target.old && after == at, "offset for 10 ms after the store time of %d: found %d", at, after);
        }
        Bed.same("offset of the beginning of time", 0L, consumer.searchOffset(queue, 0));
        Bed.same("offset of a time to come", bed.target.old ? MESSAGES - 1L : MESSAGES, consumer.searchOffset(queue, System.currentTimeMillis() + 1_000_000));
        return "smallest, largest, earliest; by time at, before and after each of " + MESSAGES + " messages";
    }
}
