// What a tool asks of running consumers through the broker: running info with stacks, one message to consume, how far they are; and offsets
// that are reset under a consumer at work.
package ringmq.cases;

import java.util.Map;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

final class Control implements Case {
    private static final int QUEUES = 4;
    private static final int MESSAGES = 20;

    @Override
    public String name() {
        return "control";
    }

    @Override
    public int limitSeconds() {
        return 150;
    }

    @Override
    public String run(Bed bed) throws Exception {
        DefaultMQAdminExt admin = bed.target.admin;
        String topic = bed.topic("Control", QUEUES);
        String group = bed.name("controlled");
        DefaultMQProducer producer = bed.producer();
        SendResult last = null;
        for (int i = 0; i < MESSAGES; i++) {
            last = producer.send(Bed.message(topic, "T", "m" + i), new MessageQueue(topic, bed.target.broker, i % QUEUES));
        }
        AtomicInteger seen = new AtomicInteger();
        DefaultMQPushConsumer consumer = bed.push(group);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            seen.addAndGet(messages.size());
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        Bed.await("all messages consumed", 30, () -> seen.get() == MESSAGES);
        bed.drain(consumer);
        String client = consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId();

        var info = admin.getConsumerRunningInfo(group, client, false);
        Bed.check(info.getMqTable().keySet().stream().filter(queue -> queue.getTopic().equals(topic)).count() == QUEUES, "queues %s", info.getMqTable().keySet());
        Bed.check(info.getJstack() == null || info.getJstack().isEmpty(), "stacks that nobody asked for");
        String stacks = admin.getConsumerRunningInfo(group, client, true).getJstack();
        Bed.check(stacks.contains("PullMessageService"), "stacks without the pulling thread: %s", stacks);
        String nobody = "";
        try {
            admin.getConsumerRunningInfo(group, "nobody", false);
        } catch (Exception e) {
            nobody = e.getMessage();
        }
        Bed.check(nobody.contains("The Consumer <" + group + "> <nobody> not online"), "info of nobody: %s", nobody);

        var result = admin.consumeMessageDirectly(group, client, topic, last.getOffsetMsgId());
        Bed.same("result of consuming directly", "CR_SUCCESS", result.getConsumeResult().toString());
        Bed.same("messages consumed", MESSAGES + 1, seen.get());
        Map<String, Map<MessageQueue, Long>> status = admin.getConsumeStatus(topic, group, "");
        Bed.same("clients that say how far they are", Set.of(client), status.keySet());
        Bed.same("their queues", QUEUES, status.get(client).size());
        Bed.check(status.get(client).values().stream().allMatch(offset -> offset == MESSAGES / QUEUES), "offsets %s", status);

        Map<MessageQueue, Long> offsets = admin.resetOffsetByTimestamp(topic, group, 0, true);
        Bed.same("queues reset", QUEUES, offsets.size());
        Bed.check(offsets.values().stream().allMatch(offset -> offset == 0), "offsets %s", offsets);
        long tookMs = Bed.await("all messages consumed again", 100, () -> seen.get() >= 2 * MESSAGES + 1);
        bed.drain(consumer);
        Bed.same("messages consumed in the end", 2 * MESSAGES + 1, seen.get());
        String unknown = "";
        try {
            admin.resetOffsetByTimestamp(topic, bed.name("nobody"), 0, true);
        } catch (Exception e) {
            unknown = e.getMessage();
        }
        Bed.check(unknown.contains(bed.name("nobody")), "a reset of an unknown group: %s", unknown);
        return "running info, stacks of " + stacks.length() + " characters, consumed directly, status; all again " + tookMs + " ms after the reset; unknown group: "
                + unknown.lines().findFirst().orElse("");
    }
}
