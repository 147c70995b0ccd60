// What fails comes again through the retry topic, with one more try each time, and ends as a dead letter; an ordered consumer gives up likewise.
package ringmq.cases;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

final class Retries implements Case {
    private static final int QUEUES = 2;
    private static final int TRIES = 2;

    @Override
    public String name() {
        return "retry";
    }

    @Override
    public int limitSeconds() {
        return 120;
    }

    @Override
    public String run(Bed bed) throws Exception {
        String concurrent = concurrently(bed);
        return concurrent + "; " + orderly(bed);
    }

    private static String concurrently(Bed bed) throws Exception {
        String topic = bed.topic("Retries", QUEUES);
        String group = bed.name("retrying");
        Map<String, List<MessageExt>> seen = new ConcurrentHashMap<>();
        DefaultMQPushConsumer consumer = bed.push(group);
        consumer.setMaxReconsumeTimes(TRIES);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            MessageExt message = messages.get(0);
            seen.computeIfAbsent(message.getKeys(), key -> new CopyOnWriteArrayList<>()).add(message);
            switch (message.getTags()) {
                case "good":
                    return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
                case "once":
                    context.setDelayLevelWhenNextConsume(1);
                    return message.getReconsumeTimes() == 0 ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
                case "never":
                    context.setDelayLevelWhenNextConsume(-1);
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                default:
                    context.setDelayLevelWhenNextConsume(1);
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
        });
        consumer.start();
        DefaultMQProducer producer = bed.producer();
        for (String tag : List.of("good", "once", "always", "never")) {
            producer.send(Bed.message(topic, tag, tag), bed.queues(topic, QUEUES).get(0));
        }
        Bed.await("all tries of \"always\"", 40, () -> seen.getOrDefault("always", List.of()).size() == TRIES + 1);
        List<MessageExt> dead = deadLetters(bed, group, 2);
        Bed.same("tries of \"good\"", 1, seen.get("good").size());
        Bed.same("tries of \"once\"", 2, seen.get("once").size());
        Bed.same("tries of \"never\"", 1, seen.get("never").size());
        List<MessageExt> always = seen.get("always");
        for (int i = 0; i < always.size(); i++) {
            MessageExt message = always.get(i);
            Bed.same("reconsume times", i, message.getReconsumeTimes());
            Bed.same("topic of a retry", topic, message.getTopic());
            Bed.same("body of a retry", "body of always", Bed.text(message.getBody()));
            Bed.same("unique id of a retry", always.get(0).getMsgId(), message.getMsgId());
            Bed.same("born time of a retry", always.get(0).getBornTimestamp(), message.getBornTimestamp());
        }
        List<String> keys = new ArrayList<>();
        dead.forEach(message -> keys.add(message.getKeys() + "/" + message.getReconsumeTimes() + "/" + message.getProperty("RETRY_TOPIC")));
        keys.sort(null);
        Bed.same("dead letters", List.of("always/" + (TRIES + 1) + "/" + topic, "never/1/" + topic), keys);
        return "tried " + seen.get("always").size() + " times, then dead";
    }

    private static String orderly(Bed bed) throws Exception {
        String topic = bed.topic("Ordered", QUEUES);
        String group = bed.name("ordered");
        List<String> seen = new CopyOnWriteArrayList<>();
        DefaultMQPushConsumer consumer = bed.push(group);
        consumer.setMaxReconsumeTimes(1);
        consumer.setSuspendCurrentQueueTimeMillis(200);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            MessageExt message = messages.get(0);
            seen.add(message.getKeys() + "/" + message.getReconsumeTimes());
            return message.getKeys().equals("bad") ? ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT : ConsumeOrderlyStatus.SUCCESS;
        });
        DefaultMQProducer producer = bed.producer();
        for (String key : List.of("first", "bad", "last")) {
            producer.send(Bed.message(topic, "tag", key), bed.queues(topic, QUEUES).get(1));
        }
        consumer.start();
        Bed.await("the message behind the bad one", 40, () -> seen.contains("last/0"));
        Bed.same("order", List.of("first/0", "bad/0", "bad/1", "last/0"), seen);
        Bed.same("dead letter", "bad", deadLetters(bed, group, 1).get(0).getKeys());
        if (!bed.target.old) {
            // A group that holds queues in order does not try again later in 5.5.0, however often it might.
            Map<String, String> retry = Map.of("reconsumeTimes", "0", "maxReconsumeTimes", "16", "properties", "KEYS\u0001byhand\u0002");
            Bed.same("code of a retry of a group with locks", 0, SendByHand.send(bed, "%RETRY%" + group, Bed.bytes("x"), retry).getCode());
            Bed.same("second dead letter", "byhand", deadLetters(bed, group, 2).get(1).getKeys());
        }
        return "an ordered consumer goes on behind a dead letter";
    }

    @SuppressWarnings("deprecation")
    private static List<MessageExt> deadLetters(Bed bed, String group, int count) throws Exception {
        DefaultMQPullConsumer reader = bed.pull(bed.name("undertaker" + group.hashCode()));
        MessageQueue queue = new MessageQueue("%DLQ%" + group, bed.target.broker, 0);
        Bed.await("route of " + queue.getTopic(), 20, () -> bed.routeQueues(queue.getTopic()) == 1);
        List<MessageExt> found = new ArrayList<>();
        Bed.await(count + " dead letters", 20, () -> {
            PullResult result = reader.pull(queue, "*", found.size(), 32);
            if (result.getPullStatus() == PullStatus.FOUND) {
                found.addAll(result.getMsgFoundList());
            }
            return found.size() >= count;
        });
        return found;
    }
}
