// What the consumers of one group received: every position once or more often, each queue in its order.
package ringmq.cases;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.Consumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.MessageExt;

final class Ledger {
    private final Map<Integer, Long> nextOffset = new HashMap<>();
    private final Map<String, String> placeOfKey = new HashMap<>();
    private final Map<String, Integer> byConsumer = new TreeMap<>();
    private final Set<String> places = new HashSet<>();
    private final List<String> outOfOrder = new ArrayList<>();
    private int redelivered;
    private int storedTwice;

    /** Lets the consumer write into this ledger; `also` sees every message received the first time. */
    void listen(DefaultMQPushConsumer consumer, String label, Consumer<MessageExt> also) {
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                if (enter(label, message)) {
                    also.accept(message);
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
    }

    void listen(DefaultMQPushConsumer consumer, String label) {
        listen(consumer, label, message -> { });
    }

    /** True when this place was not received before. */
    synchronized boolean enter(String label, MessageExt message) {
        byConsumer.merge(label, 1, Integer::sum);
        String place = message.getQueueId() + ":" + message.getQueueOffset();
        if (!places.add(place)) {
            redelivered++;
            return false;
        }
        long expected = nextOffset.getOrDefault(message.getQueueId(), 0L);
        if (message.getQueueOffset() != expected && outOfOrder.size() < 5) {
            outOfOrder.add("queue " + message.getQueueId() + " gave offset " + message.getQueueOffset() + " after " + (expected - 1));
        }
        nextOffset.put(message.getQueueId(), message.getQueueOffset() + 1);
        if (placeOfKey.put(message.getKeys(), place) != null) {
            storedTwice++;
        }
        return true;
    }

    synchronized int distinct() {
        return placeOfKey.size();
    }

    synchronized int redelivered() {
        return redelivered;
    }

    synchronized int of(String label) {
        return byConsumer.getOrDefault(label, 0);
    }

    synchronized Map<String, Integer> shares() {
        return new TreeMap<>(byConsumer);
    }

    synchronized String placeOf(String key) {
        return placeOfKey.get(key);
    }

    /** Fails unless each queue was received from offset 0 without a gap and no message was stored twice. */
    synchronized void checkOrder() {
        Bed.check(outOfOrder.isEmpty(), "order of queues: %s", outOfOrder);
        Bed.same("messages stored more than once", 0, storedTwice);
    }
}
