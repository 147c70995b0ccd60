// First half of the restart case: sends, consumes a part, commits, and writes down what the broker must still know afterwards.
package ringmq.cases;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Properties;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageQueue;

@SuppressWarnings("deprecation")
final class RestartBefore implements Case {
    static final int QUEUES = 4;
    static final int CONSUMED = 40;
    static final int LEFT = 12;
    static final int RETRY_MAX = 7;

    @Override
    public String name() {
        return "restart-before";
    }

    @Override
    public String run(Bed bed) throws Exception {
        String topic = bed.topic("Restart", QUEUES);
        String group = bed.name("pushed");
        String puller = bed.name("pulled");
        bed.target.admin.createAndUpdateSubscriptionGroupConfig(bed.target.brokerAddress, Generation.group(group, RETRY_MAX, 1, true));
        bed.target.admin.createAndUpdateSubscriptionGroupConfig(bed.target.brokerAddress, Generation.group(puller, RETRY_MAX, 1, true));
        List<MessageQueue> queues = bed.queues(topic, QUEUES);
        DefaultMQProducer producer = bed.producer();
        for (int i = 0; i < CONSUMED; i++) {
            producer.send(Bed.message(topic, "T", "before-" + i), queues.get(i % QUEUES));
        }
        Ledger ledger = new Ledger();
        DefaultMQPushConsumer consumer = bed.push(group);
        consumer.subscribe(topic, "*");
        ledger.listen(consumer, "one");
        consumer.start();
        Bed.await("messages before the restart", 30, () -> ledger.distinct() == CONSUMED);
        bed.drain(consumer);
        consumer.shutdown();
        for (int i = 0; i < LEFT; i++) {
            producer.send(Bed.message(topic, "T", "left-" + i), queues.get(i % QUEUES));
        }
        DefaultMQPullConsumer committer = bed.pull(puller);
        for (MessageQueue queue : queues) {
            committer.getDefaultMQPullConsumerImpl().getOffsetStore().updateConsumeOffsetToBroker(queue, 2 + queue.getQueueId(), false);
        }
        Properties state = new Properties();
        state.setProperty("topic", topic);
        state.setProperty("group", group);
        state.setProperty("puller", puller);
        for (MessageQueue queue : queues) {
            state.setProperty("stored." + queue.getQueueId(), Long.toString(committer.earliestMsgStoreTime(queue)));
        }
        try (var out = Files.newOutputStream(Path.of(bed.target.stateFile))) {
            state.store(out, null);
        }
        return CONSUMED + " messages consumed and committed, " + LEFT + " left, offsets 2..5 committed by a pull consumer";
    }
}
