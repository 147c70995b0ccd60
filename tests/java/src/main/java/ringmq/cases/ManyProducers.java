// Three producers with every way of sending, eight queues, two push consumers of one group: nothing lost, each queue in its order.
package ringmq.cases;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

final class ManyProducers implements Case {
    private static final int PRODUCERS = 3;
    private static final int QUEUES = 8;
    private static final int IN_FLIGHT = 64;
    private static final int BATCH = 10;

    /** Place "queue:offset" that the broker acknowledged, by key. */
    private final Map<String, String> acknowledged = new ConcurrentHashMap<>();
    /** Last sequence number of waiting sends by producer and queue; only the order of those is promised. */
    private final Map<String, Integer> lastSequence = new HashMap<>();
    private final List<String> overtaken = new ArrayList<>();

    @Override
    public String name() {
        return "many-producers";
    }

    @Override
    public boolean alone() {
        return true;
    }

    @Override
    public int limitSeconds() {
        return 150;
    }

    @Override
    public String run(Bed bed) throws Exception {
        String topic = bed.topic("Many", QUEUES);
        String group = bed.name("many");
        Ledger ledger = new Ledger();
        DefaultMQPushConsumer[] consumers = {bed.push(group), bed.push(group)};
        for (int i = 0; i < consumers.length; i++) {
            consumers[i].subscribe(topic, "*");
            ledger.listen(consumers[i], "consumer" + i, this::checkSequence);
            consumers[i].start();
        }
        for (DefaultMQPushConsumer consumer : consumers) {
            Bed.await("half of the queues for each consumer", 45, () -> Bed.assigned(consumer, topic).size() == QUEUES / 2);
        }
        long start = System.nanoTime();
        sendAll(bed, topic);
        long sentMs = Bed.millisSince(start);
        int total = bed.target.messages;
        try {
            Bed.await("all messages", 60, () -> ledger.distinct() >= total);
        } catch (AssertionError e) {
            throw new AssertionError("received " + ledger.distinct() + " of " + total + ", " + ledger.shares());
        }
        long receivedMs = Bed.millisSince(start);
        ledger.checkOrder();
        Bed.check(overtaken.isEmpty(), "order of one producer's waiting sends: %s", overtaken);
        for (var entry : acknowledged.entrySet()) {
            Bed.same("place of " + entry.getKey(), entry.getValue(), ledger.placeOf(entry.getKey()));
        }
        Bed.same("messages after all were received", total, ledger.distinct());
        long lagMs = bed.drain(consumers);
        return String.format("%d messages sent in %d ms, all received after %d ms, shares %s, %d acknowledged places right, %d redelivered, lag 0 after %d ms",
                total, sentMs, receivedMs, ledger.shares(), acknowledged.size(), ledger.redelivered(), lagMs);
    }

    private void sendAll(Bed bed, String topic) throws Exception {
        int total = bed.target.messages;
        List<MessageQueue> queues = bed.queues(topic, QUEUES);
        ExecutorService pool = Executors.newFixedThreadPool(PRODUCERS);
        List<Future<?>> results = new ArrayList<>();
        for (int number = 0; number < PRODUCERS; number++) {
            int share = total / PRODUCERS + (number < total % PRODUCERS ? 1 : 0);
            Sender sender = new Sender("p" + number, share, bed.producer(), queues);
            results.add(pool.submit(() -> {
                sender.sendShare();
                return null;
            }));
        }
        pool.shutdown();
        for (Future<?> result : results) {
            result.get(90, TimeUnit.SECONDS);
        }
    }

    private synchronized void checkSequence(MessageExt message) {
        String sequence = message.getUserProperty("sequence");
        if (sequence == null) {
            return;
        }
        String from = message.getUserProperty("from") + " on queue " + message.getQueueId();
        int before = lastSequence.getOrDefault(from, -1);
        if (Integer.parseInt(sequence) <= before && overtaken.size() < 5) {
            overtaken.add(from + ": " + sequence + " after " + before);
        }
        lastSequence.put(from, Integer.parseInt(sequence));
    }

    private final class Sender {
        private final String label;
        private final int share;
        private final DefaultMQProducer producer;
        private final List<MessageQueue> queues;
        private final Semaphore inFlight = new Semaphore(IN_FLIGHT);
        private final List<Throwable> asyncFailures = new ArrayList<>();
        private int sent;

        Sender(String label, int share, DefaultMQProducer producer, List<MessageQueue> queues) {
            this.label = label;
            this.share = share;
            this.producer = producer;
            this.queues = queues;
            producer.setRetryTimesWhenSendFailed(0);
            producer.setRetryTimesWhenSendAsyncFailed(0);
        }

        /** Rounds of 40 waiting sends, 30 with a callback, 10 without an answer and two batches of ten. */
        void sendShare() throws Exception {
            while (sent < share) {
                MessageQueue queue = queues.get(sent % QUEUES);
                int inRound = sent % 100;
                if (inRound < 40) {
                    Message message = next(true);
                    noteAcknowledged(message.getKeys(), 0, producer.send(message, queue));
                } else if (inRound < 70) {
                    sendWithCallback(next(false), queue);
                } else if (inRound < 80 || share - sent < BATCH) {
                    producer.sendOneway(next(false), queue);
                } else {
                    sendBatch(queue);
                }
            }
            Bed.check(inFlight.tryAcquire(IN_FLIGHT, 20, TimeUnit.SECONDS), "%s: callbacks are missing", label);
            Bed.check(asyncFailures.isEmpty(), "%s: callback got %s", label, asyncFailures);
        }

        private Message next(boolean ordered) {
            Message message = Bed.message(queues.get(0).getTopic(), "T", label + "-" + sent);
            message.putUserProperty("from", label);
            if (ordered) {
                message.putUserProperty("sequence", Integer.toString(sent));
            }
            sent++;
            return message;
        }

        private void sendWithCallback(Message message, MessageQueue queue) throws Exception {
            Bed.check(inFlight.tryAcquire(20, TimeUnit.SECONDS), "%s: no callback for 20 s", label);
            producer.send(message, queue, new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    noteAcknowledged(message.getKeys(), 0, result);
                    inFlight.release();
                }

                @Override
                public void onException(Throwable thrown) {
                    asyncFailures.add(thrown);
                    inFlight.release();
                }
            });
        }

        private void sendBatch(MessageQueue queue) throws Exception {
            List<Message> batch = new ArrayList<>();
            for (int i = 0; i < BATCH; i++) {
                batch.add(next(true));
            }
            SendResult result = producer.send(batch, queue);
            Bed.same("ids of a batch", BATCH, result.getMsgId().split(",").length);
            for (int i = 0; i < BATCH; i++) {
                noteAcknowledged(batch.get(i).getKeys(), i, result);
            }
        }

        private void noteAcknowledged(String key, int inBatch, SendResult result) {
            Bed.same("status of " + key, SendStatus.SEND_OK, result.getSendStatus());
            acknowledged.put(key, result.getMessageQueue().getQueueId() + ":" + (result.getQueueOffset() + inBatch));
        }
    }
}
