// Second half of the restart case: messages, committed offsets, topic and group are what they were before.
package ringmq.cases;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentSkipListSet;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageQueue;

@SuppressWarnings("deprecation")
final class RestartAfter implements Case {
    private static final int FRESH = 8;

    @Override
    public String name() {
        return "restart-after";
    }

    @Override
    public String run(Bed bed) throws Exception {
        Properties state = new Properties();
        try (var in = Files.newInputStream(Path.of(bed.target.stateFile))) {
            state.load(in);
        }
        String topic = state.getProperty("topic");
        String group = state.getProperty("group");
        List<MessageQueue> queues = bed.queues(topic, RestartBefore.QUEUES);
        Bed.await("route after the restart", 40, () -> bed.routeQueues(topic) == RestartBefore.QUEUES);
        Bed.same("retries of the group", RestartBefore.RETRY_MAX,
                bed.target.admin.examineSubscriptionGroupConfig(bed.target.brokerAddress, group).getRetryMaxTimes());

        int perQueue = (RestartBefore.CONSUMED + RestartBefore.LEFT) / RestartBefore.QUEUES;
        DefaultMQPullConsumer puller = bed.pull(state.getProperty("puller"));
        DefaultMQPullConsumer reader = bed.pull(group);
        for (MessageQueue queue : queues) {
            Bed.same("end of " + queue, (long) perQueue, puller.maxOffset(queue));
            Bed.same("offset of the pull consumer in " + queue, 2L + queue.getQueueId(), puller.fetchConsumeOffset(queue, true));
            Bed.same("offset of the push consumer in " + queue, (long) RestartBefore.CONSUMED / RestartBefore.QUEUES, reader.fetchConsumeOffset(queue, true));
            Bed.same("earliest store time of " + queue, state.getProperty("stored." + queue.getQueueId()), Long.toString(puller.earliestMsgStoreTime(queue)));
            PullResult all = puller.pull(queue, "*", 0, 32);
            Bed.same("messages in " + queue, perQueue, all.getMsgFoundList().size());
            Bed.same("first body in " + queue, "body of before-" + queue.getQueueId(), Bed.text(all.getMsgFoundList().get(0).getBody()));
        }
        reader.shutdown();
        return consumeRest(bed, topic, group, queues);
    }

    private static String consumeRest(Bed bed, String topic, String group, List<MessageQueue> queues) throws Exception {
        DefaultMQProducer producer = bed.producer();
        Set<String> expected = new TreeSet<>();
        for (int i = 0; i < FRESH; i++) {
            Bed.same("offset of the first messages after the restart", (RestartBefore.CONSUMED + RestartBefore.LEFT + i) / (long) RestartBefore.QUEUES,
                    producer.send(Bed.message(topic, "T", "fresh-" + i), queues.get(i % RestartBefore.QUEUES)).getQueueOffset());
            expected.add("fresh-" + i);
        }
        for (int i = 0; i < RestartBefore.LEFT; i++) {
            expected.add("left-" + i);
        }
        Set<String> received = new ConcurrentSkipListSet<>();
        DefaultMQPushConsumer consumer = bed.push(group);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(message -> received.add(message.getKeys()));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        Bed.await("what was left and what is fresh", 30, () -> received.containsAll(expected));
        Thread.sleep(500);
        Bed.same("received after the restart", expected, new TreeSet<>(received));
        return "messages, ends, offsets, topic and group survived; the group went on with " + expected.size() + " messages and saw none twice";
    }
}
