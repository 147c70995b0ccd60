// Finding messages: by key with limits of number and time, by unique id, by place; who has consumed one; what producers tell of it in a trace topic.
package ringmq.cases;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

final class Queries implements Case {
    private static final int QUEUES = 2;
    private static final int MESSAGES = 10;
    /** The index has times in seconds. */
    private static final int PAUSE_MS = 3_000;

    @Override
    public String name() {
        return "queries";
    }

    @Override
    public int limitSeconds() {
        return 120;
    }

    @Override
    public String run(Bed bed) throws Exception {
        DefaultMQAdminExt admin = bed.target.admin;
        String topic = bed.topic("Queries", QUEUES);
        String traces = bed.topic("Traces", 1);
        DefaultMQProducer producer = traced(bed, traces);
        List<SendResult> sent = new ArrayList<>();
        long middle = 0;
        for (int i = 0; i < MESSAGES; i++) {
            if (i == MESSAGES / 2) {
                Thread.sleep(PAUSE_MS);
                middle = System.currentTimeMillis();
                Thread.sleep(PAUSE_MS);
            }
            sent.add(producer.send(Bed.message(topic, i % 2 == 0 ? "Even" : "Odd", "all own" + i), new MessageQueue(topic, bed.target.broker, i % QUEUES)));
        }
        long end = System.currentTimeMillis() + 60_000;
        Bed.await("all messages by a key", 20, () -> keys(admin, topic, "all", 64, 0, end).size() == MESSAGES);
        for (int i = 0; i < MESSAGES; i++) {
            Bed.same("messages with a key of its own", Set.of("all own" + i), keys(admin, topic, "own" + i, 64, 0, end));
            MessageExt byId = admin.viewMessage(topic, sent.get(i).getMsgId());
            MessageExt byPlace = admin.viewMessage(topic, sent.get(i).getOffsetMsgId());
            for (MessageExt found : List.of(byId, byPlace)) {
                Bed.same("keys", "all own" + i, found.getKeys());
                Bed.same("body", "body of all own" + i, Bed.text(found.getBody()));
                Bed.same("queue offset", sent.get(i).getQueueOffset(), found.getQueueOffset());
            }
        }
        Bed.same("messages by a key, at most 3", 3, keys(admin, topic, "all", 3, 0, end).size());
        Bed.same("messages of the first half", half(0), keys(admin, topic, "all", 64, 0, middle));
        Bed.same("messages of the second half", half(MESSAGES / 2), keys(admin, topic, "all", 64, middle, end));
        Bed.same("messages by a key of no message", Set.of(), keys(admin, topic, "own", 64, 0, end));
        Bed.same("messages before the first", Set.of(), keys(admin, topic, "all", 64, 0, 1_000));

        String fates = fates(bed, topic, sent.get(0));
        String id = sent.get(MESSAGES - 1).getMsgId();
        long tookMs = Bed.await("the trace of a message", 40, () -> {
            try {
                List<MessageExt> found = admin.queryMessage(traces, id, 64, 0, System.currentTimeMillis() + 60_000).getMessageList();
                return found.stream().map(MessageExt::getBody).map(Bed::text).anyMatch(text -> text.startsWith("Pub") && text.contains(topic) && text.contains(id));
            } catch (MQClientException e) {
                return false;
            }
        });
        return MESSAGES + " messages by key, time, id and place; " + fates + "; traced after " + tookMs + " ms";
    }

    private static DefaultMQProducer traced(Bed bed, String traces) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(bed.name("traced"), null, true, traces);
        producer.setNamesrvAddr(bed.target.nameServer);
        producer.setInstanceName(bed.instance());
        producer.setSendMsgTimeout(10_000);
        producer.start();
        bed.closeLater(producer::shutdown);
        return producer;
    }

    /** Who has consumed a message with the tag Even: one group takes all, one takes others. */
    private static String fates(Bed bed, String topic, SendResult sent) throws Exception {
        Map<String, String> expected = new TreeMap<>();
        for (String tag : List.of("*", "Odd")) {
            String group = bed.name(tag.equals("*") ? "takes_all" : "takes_odd");
            DefaultMQPushConsumer consumer = bed.push(group);
            consumer.subscribe(topic, tag);
            Ledger ledger = new Ledger();
            ledger.listen(consumer, "one");
            consumer.start();
            expected.put(group, tag.equals("*") ? "CONSUMED" : "CONSUMED_BUT_FILTERED");
            Bed.await("the route of the retry topic", 30, () -> bed.routeQueues("%RETRY%" + group) > 0);
            bed.drain(consumer);
        }
        MessageExt message = bed.target.admin.viewMessage(topic, sent.getOffsetMsgId());
        Map<String, String> found = new TreeMap<>();
        Bed.await("who has consumed it: " + expected, 30, () -> {
            found.clear();
            bed.target.admin.messageTrackDetail(message).forEach(track -> found.put(track.getConsumerGroup(), "" + track.getTrackType()));
            return found.equals(expected);
        });
        return "one group has consumed it, one has filtered it";
    }

    private static Set<String> half(int from) {
        Set<String> keys = new TreeSet<>();
        for (int i = from; i < from + MESSAGES / 2; i++) {
            keys.add("all own" + i);
        }
        return keys;
    }

    private static Set<String> keys(DefaultMQAdminExt admin, String topic, String key, int most, long begin, long end) throws Exception {
        Set<String> keys = new TreeSet<>();
        try {
            admin.queryMessage(topic, key, most, begin, end).getMessageList().forEach(message -> keys.add(message.getKeys()));
        } catch (MQClientException e) {
            // Of the client: no broker found anything.
            Bed.same("code of a query without a result", 208, e.getResponseCode());
        }
        return keys;
    }
}
