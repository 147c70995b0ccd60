// The pull consumer: what a pull at each kind of offset answers, and offsets kept by the broker.
package ringmq.cases;

import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

@SuppressWarnings("deprecation")
final class Pull implements Case {
    private static final int MESSAGES = 50;

    @Override
    public String name() {
        return "pull";
    }

    @Override
    public String run(Bed bed) throws Exception {
        String topic = bed.topic("Pull", 2);
        MessageQueue queue = bed.queues(topic, 2).get(1);
        MessageQueue empty = bed.queues(topic, 2).get(0);
        DefaultMQProducer producer = bed.producer();
        for (int i = 0; i < MESSAGES; i++) {
            var message = Bed.message(topic, i % 2 == 0 ? "Even" : "Odd", "m" + i);
            message.putUserProperty("number", Integer.toString(i));
            message.setFlag(i);
            producer.send(message, queue);
        }
        DefaultMQPullConsumer consumer = bed.pull(bed.name("pullers"));
        Bed.same("queues of the topic", 2, consumer.fetchSubscribeMessageQueues(topic).size());
        Bed.await("all messages in the queue", 20, () -> consumer.maxOffset(queue) == MESSAGES);
        readAll(consumer, queue);

        // Fewer than the 32 that the broker itself gives at most.
        PullResult few = consumer.pull(queue, "*", 3, 10);
        expect("of 10", few, PullStatus.FOUND, 13);
        Bed.same("messages for a pull of 10", 10, few.getMsgFoundList().size());
        expect("at the end", consumer.pull(queue, "*", MESSAGES, 32), PullStatus.NO_NEW_MSG, MESSAGES);
        expect("beyond the end", consumer.pull(queue, "*", MESSAGES + 100, 32), PullStatus.OFFSET_ILLEGAL, MESSAGES);
        expect("before the start", consumer.pull(queue, "NoSuchTag", 0, 32), PullStatus.NO_MATCHED_MSG, MESSAGES);
        expect("of an empty queue", consumer.pull(empty, "*", 0, 32), PullStatus.NO_NEW_MSG, 0);
        expect("of an empty queue at 5", consumer.pull(empty, "*", 5, 32), PullStatus.OFFSET_ILLEGAL, 0);
        PullResult odd = consumer.pull(queue, "Odd", 0, 32);
        Bed.check(odd.getMsgFoundList().stream().allMatch(message -> "Odd".equals(message.getTags())), "a pull by tag found %s", odd.getMsgFoundList());

        MQBrokerException noTopic = Bed.refused("a pull of a missing topic",
                () -> consumer.pull(new MessageQueue(bed.name("Missing"), bed.target.broker, 0), "*", 0, 32));
        Bed.same("code for a missing topic", 17, noTopic.getResponseCode());
        MQBrokerException noQueue = Bed.refused("a pull of a missing queue", () -> consumer.pull(new MessageQueue(topic, bed.target.broker, 9), "*", 0, 32));
        Bed.same("code for a missing queue", bed.target.old ? 1 : 29, noQueue.getResponseCode());

        Bed.same("offset before any commit of a queue that still has its first message", 0L, consumer.fetchConsumeOffset(queue, true));
        consumer.getDefaultMQPullConsumerImpl().getOffsetStore().updateConsumeOffsetToBroker(queue, 7, false);
        Bed.same("offset after the commit", 7L, bed.pull(consumer.getConsumerGroup()).fetchConsumeOffset(queue, true));
        return MESSAGES + " messages read in order with their properties; " + noQueue.getErrorMessage();
    }

    private static void readAll(DefaultMQPullConsumer consumer, MessageQueue queue) throws Exception {
        long offset = 0;
        while (offset < MESSAGES) {
            PullResult found = consumer.pull(queue, "*", offset, 32);
            Bed.same("status at " + offset, PullStatus.FOUND, found.getPullStatus());
            Bed.check(found.getMsgFoundList().size() <= 32, "%d messages for a pull of 32", found.getMsgFoundList().size());
            Bed.same("smallest offset", 0L, found.getMinOffset());
            Bed.same("largest offset", (long) MESSAGES, found.getMaxOffset());
            for (MessageExt message : found.getMsgFoundList()) {
                Bed.same("offset", offset, message.getQueueOffset());
                Bed.same("body", "body of m" + offset, Bed.text(message.getBody()));
                Bed.same("key", "m" + offset, message.getKeys());
                Bed.same("property", Long.toString(offset), message.getUserProperty("number"));
                Bed.same("flag", (int) offset, message.getFlag());
                offset++;
            }
            Bed.same("next offset", offset, found.getNextBeginOffset());
        }
    }

    private static void expect(String where, PullResult result, PullStatus status, long next) {
        List<Object> expected = List.of(status, next);
        Bed.same("pull " + where, expected, List.of(result.getPullStatus(), result.getNextBeginOffset()));
    }
}
