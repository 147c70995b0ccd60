// Delay levels: each message comes once, not before its time, as it was sent; a level that has passed does not keep others waiting.
package ringmq.cases;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

final class Delays implements Case {
    private static final int QUEUES = 4;
    private static final int PER_LEVEL = 20;
    /** Level and delay, ms. */
    private static final Map<Integer, Integer> LEVELS = new TreeMap<>(Map.of(0, 0, 1, 1_000, 2, 5_000, 3, 10_000));
    /** A sanity bound: Java is up to 100 ms late, more when it is busy. */
    private static final int LATE_MS_MAX = 3_000;

    @Override
    public String name() {
        return "delay";
    }

    @Override
    public String run(Bed bed) throws Exception {
        String topic = bed.topic("Delays", QUEUES);
        Map<String, Long> sentAt = new ConcurrentHashMap<>();
        Map<String, AtomicInteger> received = new ConcurrentHashMap<>();
        Map<Integer, List<Long>> late = new ConcurrentHashMap<>();
        List<String> wrong = Collections.synchronizedList(new ArrayList<>());
        DefaultMQPushConsumer consumer = bed.push(bed.name("delayed"));
        consumer.subscribe(topic, "TagDelay");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            long now = System.currentTimeMillis();
            for (MessageExt message : messages) {
                received.computeIfAbsent(message.getKeys(), key -> new AtomicInteger()).incrementAndGet();
                int level = Integer.parseInt(message.getUserProperty("level"));
                long tookMs = now - sentAt.get(message.getKeys());
                late.computeIfAbsent(level, key -> Collections.synchronizedList(new ArrayList<>())).add(tookMs - LEVELS.get(level));
                if (!topic.equals(message.getTopic()) || !Bed.text(message.getBody()).equals("body of " + message.getKeys())) {
                    wrong.add(message.toString());
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        DefaultMQProducer producer = bed.producer();
        for (int i = 0; i < PER_LEVEL; i++) {
            for (int level : LEVELS.keySet()) {
                String key = "level" + level + "-" + i;
                Message message = Bed.message(topic, "TagDelay", key);
                message.putUserProperty("level", Integer.toString(level));
                message.setDelayTimeLevel(level);
                sentAt.put(key, System.currentTimeMillis());
                SendResult result = producer.send(message);
                Bed.check(result.getMessageQueue().getTopic().equals(topic), "answer to a delayed send: %s", result);
            }
        }
        int all = PER_LEVEL * LEVELS.size();
        Bed.await(all + " messages", 40, () -> received.size() == all);
        Bed.check(wrong.isEmpty(), "changed on the way: %s", wrong);
        StringBuilder text = new StringBuilder();
        for (int level : LEVELS.keySet()) {
            List<Long> list = new ArrayList<>(late.get(level));
            Collections.sort(list);
            Bed.same("messages of level " + level, PER_LEVEL, list.size());
            // The clocks are one, but a store time is taken a little after the send began.
            Bed.check(list.get(0) >= 0, "level %d: %d ms too early", level, -list.get(0));
            Bed.check(list.get(PER_LEVEL / 2) <= LATE_MS_MAX, "level %d: late by %s ms", level, list);
            text.append(" level ").append(level).append(": ").append(list.get(PER_LEVEL / 2)).append(',');
        }
        return "median lateness in ms:" + text.substring(0, text.length() - 1);
    }
}
