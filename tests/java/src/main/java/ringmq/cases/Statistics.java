// Statistics and progress through the admin client: what was put and got in the last minute, times, groups of the broker, copied offsets.
package ringmq.cases;

import java.util.Map;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

final class Statistics implements Case {
    private static final int QUERY_CONSUMER_OFFSET = 14;
    private static final int QUEUES = 2;
    private static final int MESSAGES = 30;
    private static final String MISSING = "no such statistic";

    @Override
    public String name() {
        return "statistics";
    }

    @Override
    public int limitSeconds() {
        return 120;
    }

    @Override
    public String run(Bed bed) throws Exception {
        DefaultMQAdminExt admin = bed.target.admin;
        String address = bed.target.brokerAddress;
        String topic = bed.topic("Statistics", QUEUES);
        String group = bed.name("counted");
        Bed.same("puts before the first message", MISSING, sum(bed, "TOPIC_PUT_NUMS", topic));
        DefaultMQProducer producer = bed.producer();
        long before = System.currentTimeMillis();
        for (int i = 0; i < MESSAGES; i++) {
            producer.send(Bed.message(topic, "T", "m" + i), new MessageQueue(topic, bed.target.broker, i % QUEUES));
        }
        DefaultMQPushConsumer consumer = bed.push(group);
        Ledger ledger = new Ledger();
        consumer.subscribe(topic, "*");
        ledger.listen(consumer, "one");
        consumer.start();
        // 4.9.7's admin client finds the brokers of a group by the route of its retry topic.
        Bed.await("the route of the retry topic", 30, () -> bed.routeQueues("%RETRY%" + group) > 0);
        Bed.await("the offsets of the group", 30, () -> {
            consumer.getDefaultMQPushConsumerImpl().persistConsumerOffset();
            var offsets = admin.examineConsumeStats(group, topic).getOffsetTable().values();
            return offsets.size() == QUEUES && offsets.stream().allMatch(offset -> offset.getConsumerOffset() == MESSAGES / QUEUES);
        });
        String pair = topic + "@" + group;
        Bed.await("puts of the last minute", 30, () -> sum(bed, "TOPIC_PUT_NUMS", topic).equals("" + MESSAGES));
        Bed.await("gets of the last minute", 30, () -> sum(bed, "GROUP_GET_NUMS", pair).equals("" + MESSAGES));
        var item = admin.viewBrokerStatsData(address, "TOPIC_PUT_NUMS", topic).getStatsMinute();
        Bed.check(item.getTps() > 0.3 && item.getTps() < 3.5, "messages per second: %s", item.getTps());
        Bed.same("messages per put", 1.0, item.getAvgpt());
        Bed.check(Long.parseLong(sum(bed, "TOPIC_PUT_SIZE", topic)) > MESSAGES * 100, "bytes: %s", sum(bed, "TOPIC_PUT_SIZE", topic));
        // In Java every statistic has a clock of its own.
        Bed.await("puts of the broker", 30, () -> Long.parseLong(sum(bed, "BROKER_PUT_NUMS", bed.target.cluster)) >= MESSAGES);
        Bed.same("a statistic of no name", MISSING, sum(bed, "NO_SUCH_NAME", topic));

        var stats = admin.examineConsumeStats(group, topic);
        Bed.check(stats.getConsumeTps() > 0.3, "consumed per second: %s", stats.getConsumeTps());
        for (var offset : stats.getOffsetTable().values()) {
            Bed.check(offset.getLastTimestamp() >= before, "%d of %d consumed, the last of %d; sent after %d", offset.getConsumerOffset(), offset.getBrokerOffset(),
                    offset.getLastTimestamp(), before);
        }
        var spans = admin.queryConsumeTimeSpan(topic, group);
        Bed.same("queues with times", QUEUES, spans.size());
        for (var span : spans) {
            Bed.check(before <= span.getMinTimeStamp() && span.getMinTimeStamp() <= span.getMaxTimeStamp(), "from %d to %d", span.getMinTimeStamp(), span.getMaxTimeStamp());
            Bed.same("time of what was consumed last", span.getMaxTimeStamp(), span.getConsumeTimeStamp());
            Bed.same("delay", 0L, span.getDelayTime());
        }
        boolean isListed = admin.fetchConsumeStatsInBroker(address, false, 10_000).getConsumeStatsList().stream().anyMatch(one -> one.containsKey(group));
        Bed.check(isListed, "the groups of the broker lack %s", group);
        Set<String> consumers = admin.queryTopicConsumeByWho(topic).getGroupList();
        Bed.check(consumers.contains(group), "who consumes: %s", consumers);
        var runtime = admin.fetchBrokerRuntimeStats(address).getTable();
        Bed.check(Long.parseLong(runtime.get("msgPutTotalTodayNow")) >= MESSAGES, "put today: %s", runtime.get("msgPutTotalTodayNow"));
        Bed.check(Long.parseLong(runtime.get("earliestMessageTimeStamp")) > 0, "earliest: %s", runtime.get("earliestMessageTimeStamp"));
        String copy = bed.name("copy");
        admin.createAndUpdateSubscriptionGroupConfig(address, Generation.group(copy, 5, 1, false));
        admin.cloneGroupOffset(group, copy, topic, true);
        for (int queue = 0; queue < QUEUES; queue++) {
            var fields = Map.of("consumerGroup", copy, "topic", topic, "queueId", "" + queue);
            String copied = bed.target.ask(QUERY_CONSUMER_OFFSET, fields, null).getExtFields().get("offset");
            Bed.same("copied offset", "" + MESSAGES / QUEUES, copied);
        }
        return MESSAGES + " messages, " + item.getTps() + " per second in the last minute";
    }

    /** The sum of the last minute, or that there is no such statistic. */
    private static String sum(Bed bed, String name, String key) throws Exception {
        try {
            return "" + bed.target.admin.viewBrokerStatsData(bed.target.brokerAddress, name, key).getStatsMinute().getSum();
        } catch (MQClientException e) {
            Bed.same("code", 1, e.getResponseCode());
            return MISSING;
        }
    }
}
